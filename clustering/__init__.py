"""Verified pairs become clusters: guards against chaining, and representatives."""

from .partition import Partition, cluster_pairs
from .representatives import check_keep, choose_representatives, weakest_links

__all__ = ["Partition", "check_keep", "choose_representatives", "cluster_pairs", "weakest_links"]
