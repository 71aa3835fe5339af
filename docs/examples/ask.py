"""Ask a cascade what is on a picture: `python docs/examples/ask.py`. Needs the extra `sim`, no board."""

import numpy as np
from sklearn.datasets import load_digits

import edgesight

picture = np.rint(load_digits().images[7] * (255 / 16)).astype(np.uint8)[:, :, None]
with edgesight.open("bitstreams/digits", fabric="csim") as edge:
    answer = edge.ask(picture, accuracy=0.95, deadline_ms=50)
print(f"It is a {answer.class_name}, says {answer.stage}; sure to {answer.confidence:.1%}.")
