import torch

from sepgconv.functional import act
from sepgconv.symmetry import element_names

# What each name says, done with torch alone.
MOVES = {
    "identity": lambda x: x,
    "turn by 90°": lambda x: torch.rot90(x, 1, (-2, -1)),
    "turn by 180°": lambda x: torch.rot90(x, 2, (-2, -1)),
    "turn by 270°": lambda x: torch.rot90(x, 3, (-2, -1)),
    "mirror left-right": lambda x: x.flip(-1),
    "mirror top-bottom": lambda x: x.flip(-2),
    "mirror at the diagonal": lambda x: x.transpose(-2, -1),
    "mirror at the other diagonal": lambda x: torch.rot90(x, 2, (-2, -1)).transpose(-2, -1),
}


def test_every_element_does_what_its_name_says(group):
    names = element_names(group)
    assert len(names) == group.order == len(set(names))
    x = torch.randn(1, 1, 4, 4)
    for g, name in enumerate(names):
        assert torch.equal(act(group, g, x), MOVES[name](x))
