"""The hands: claims jobs and runs each in a process of its own. Only `attempt` and `recorder` import the science."""
