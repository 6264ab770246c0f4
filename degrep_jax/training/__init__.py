"""Training of both stages: state, losses and steps are pure; stages.py builds them from a config;
loop.py runs them; run.py and recorder.py save and log; plan.py says beforehand what a run takes."""
