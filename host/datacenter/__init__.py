"""The data centre's side: a service that receives strips, and the models that it answers with."""
