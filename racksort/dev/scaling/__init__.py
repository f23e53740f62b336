"""Whether the autoscalers' rules hold: Kubernetes' algorithm over pods as queues, through a day with spikes and a lost
node.
"""
