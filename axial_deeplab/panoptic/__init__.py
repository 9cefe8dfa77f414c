"""The arithmetic of panoptic labels: functions of tensors on any device, without parameters and without state."""
