"""The standard deviation of the data, which some methods are told and some networks count on."""

from __future__ import annotations

from models.build import AnyArchitecture


def refuse_another(sigma_data: float, model: AnyArchitecture) -> None:
    """Raise ValueError where the network counts on another standard deviation of the data than the method."""
    if model.parametrisation == "edm" and model.sigma_data != sigma_data:
        raise ValueError(
            f"objective.sigma_data is {sigma_data:g} and model.sigma_data {model.sigma_data:g}; "
            "both are the data's standard deviation, so give both the same"
        )
