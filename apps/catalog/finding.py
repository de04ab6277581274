"""Where ids of this room's rows stand, for operators who look for one."""

from apps.catalog.models import Model, ModelOffer, PriceProposal, PriceVersion, Provider
from apps.core.finding import Place

PLACES = (
    Place(PriceVersion, prefixes=("pv_",)),
    Place(PriceProposal, prefixes=("prop_",)),
    Place(Provider),
    Place(Model),
    Place(ModelOffer),
)
