"""From scored pairs to clusters, without chains, and their representatives."""

from .partition import Partition, cluster_pairs
from .paths import weakest_links
from .representatives import check_keep, choose_representatives

__all__ = ["Partition", "check_keep", "choose_representatives", "cluster_pairs", "weakest_links"]
