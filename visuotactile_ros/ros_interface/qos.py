"""The qualities of service of the package: publishers reliable, subscribers best effort (REP 2003)."""

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

# Small: an image that waited behind four others is worth nothing to a controller.
STREAM_PUBLISHER = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.RELIABLE,
                              durability=DurabilityPolicy.VOLATILE)

# Matches reliable and best-effort publishers alike and keeps nothing but the newest.
NEWEST_SUBSCRIPTION = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT,
                                 durability=DurabilityPolicy.VOLATILE)

# What a late subscriber must still get: model_info, the phase of the task.
LATCHED = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE,
                     durability=DurabilityPolicy.TRANSIENT_LOCAL)

# All sensors share one topic of stamped embeddings: with a depth of 1 the last of a burst would push out the others.
EMBEDDING_SUBSCRIPTION = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=10,
                                    reliability=ReliabilityPolicy.BEST_EFFORT,
                                    durability=DurabilityPolicy.VOLATILE)
