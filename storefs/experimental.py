"""Experimental features: what a configuration must name before it can be used (`experimental-features`)."""

from __future__ import annotations

from storefs.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.config import Config

CA_DERIVATIONS = "ca-derivations"


class FeatureDisabledError(StoreError):
    """Something that must be asked for was not."""

    def __init__(self, feature: str) -> None:
        super().__init__(
            f"experimental Nix feature '{feature}' is disabled; use '--extra-experimental-features {feature}' "
            "to override"
        )


def has_feature(config: Config, feature: str) -> bool:
    """Whether the feature is on."""
    return feature in config.words("experimental-features")


def require_feature(config: Config, feature: str) -> None:
    """Raise FeatureDisabledError unless the feature is on."""
    if not has_feature(config, feature):
        raise FeatureDisabledError(feature)
