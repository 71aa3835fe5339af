"""What runs a plan of a workflow: the operators' networks on their workers.

Each variant of an operator is an ONNX or QONNX network, with an input for each source or operator that it takes from,
called as that is; one that takes from one alone may call its input as it likes. What others take from has one output.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgesight.host.cluster.deployment import Piece
from edgesight.host.doors.served import TensorForm
from edgesight.host.limits import Limits
from edgesight.host.workflow.execution import Execution, Flow, Operator, Station
from edgesight.plan.place.pieces import CutNetwork
from edgesight.plan.profile import PlanError
from edgesight.plan.workflow.problem import Workflow, WorkflowPlan, rates_of


def model_files(folder: Path, workflow: Workflow) -> dict[tuple[str, str], Path]:
    """The networks in a `folder`, as OPERATOR/VARIANT.onnx, by both; those that are absent are left out."""
    found = {
        (operator.name, variant): folder / operator.name / f"{variant}.onnx"
        for operator in workflow.operators
        for variant in operator.variants
    }
    return {key: path for key, path in found.items() if path.is_file()}


def execution(workflow: Workflow, plan: WorkflowPlan, models: Mapping[tuple[str, str], Path]) -> Execution:
    """What runs `plan`, with the networks of `models` by operator and variant; workers say their limits.

    Raises PlanError for a plan of another workflow, and for what cannot be run: a network that is not there or does not
    fit its edges, an edge on which there is not one message for each request.
    """
    if not plan.feasible:
        raise PlanError(f"plan: is none ({plan.reason}): give one that is feasible")
    for place, edge in enumerate(workflow.edges):
        if edge.ratio != 1.0:
            raise PlanError(
                f"workflow: edges.{place}: {edge.source} to {edge.target} has {edge.ratio:g} messages for each: only "
                "one for one can be run; leave such operators to who runs them otherwise"
            )
    operators, sources, stations = [], dict[str, TensorForm](), []
    known = {operator.name: operator for operator in workflow.operators}
    workers = {worker.name: worker for worker in workflow.workers}
    strangers = [one.worker for one in plan.assignments if one.worker not in workers]
    if strangers:
        raise PlanError(f"plan: worker {strangers[0]} is not in the workflow: give the plan's own workflow")
    for name in (one for one in rates_of(workflow) if one in known):
        variant = plan.variants.get(name)
        path = None if variant is None else models.get((name, variant))
        if variant is None or path is None:
            raise PlanError(f"operator {name}: its network is not there: give {name}/{variant}.onnx")
        before = [edge.source for edge in workflow.edges if edge.target == name]
        cut = CutNetwork(path)
        inputs = {one.name: one for one in cut.inputs}
        if len(before) == len(inputs) == 1:
            taken = {before[0]: next(iter(inputs))}
        elif inputs.keys() == set(before):
            taken = {one: one for one in before}
        else:
            raise PlanError(
                f"{path}: its inputs are {', '.join(inputs)}: call them as what the operator takes from, "
                f"{', '.join(before)}"
            )
        if name != workflow.sink and len(cut.outputs) != 1:
            raise PlanError(f"{path}: has {len(cut.outputs)} outputs, and others take from it: leave it one")
        for source in before:
            if source not in known:
                form = sources.setdefault(source, inputs[taken[source]])
                if (form.shape, form.datatype) != (inputs[taken[source]].shape, inputs[taken[source]].datatype):
                    raise PlanError(f"{path}: takes {source} otherwise than another operator does: let both take one")
        operators.append(Operator(name, variant, taken))
        for one in plan.assignments:
            if one.operator == name:
                worker = workers[one.worker]
                held = Limits(worker.cores, worker.memory_bytes)
                names = [port.name for port in cut.inputs], [port.name for port in cut.outputs]
                stations.append(Station(name, Piece(one.worker, cut.whole, *names, held)))
    flows = [Flow(one.source, one.target, one.source_worker, one.target_worker, one.rate) for one in plan.flows]
    return Execution(sources, operators, stations, flows, workflow.sink)
