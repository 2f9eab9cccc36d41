"""Protocols: those that ship hold, wrong ones are named by their field."""

from __future__ import annotations

import pytest
import tiny
import torch

from mrunfold.errors import InputError
from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.protocols import load_protocol, protocol_names


@pytest.mark.parametrize("name", ["mri-compact", "mri-wide", "mri-paper", "mri-fastmri", "natural-compact"])
def test_what_ships_can_be_read_and_built(name):
    assert name in protocol_names()
    protocol = load_protocol(name)
    assert protocol.name == name
    with torch.device("meta"):
        network = PosteriorDenoiser.from_spec(protocol.network)
    count = sum(p.numel() for p in network.parameters())
    if name.endswith(("compact", "wide")):
        assert 2e6 < count < 8e6  # in half precision at most 16 MB
    else:
        assert abs(count - 47e6) < 1e6


def test_digest_follows_content_not_layout(tmp_path):
    text = (tmp_path / "a.toml", tmp_path / "b.toml", tmp_path / "c.toml")
    from mrunfold.protocols import FOLDER

    source = (FOLDER / "mri-compact.toml").read_text(encoding="utf-8")
    text[0].write_text(source, encoding="utf-8")
    text[1].write_text("# a remark\n\n" + source, encoding="utf-8")
    text[2].write_text(source.replace("dropout = 0.0\n", "dropout = 0.05\n"), encoding="utf-8")
    a, b, c = (load_protocol(str(t)).digest() for t in text)
    assert a == b != c


def test_digests_of_what_shipped_before_stay():
    """Weights name the digest that they were trained by."""
    assert load_protocol("mri-compact").digest().startswith("9cb63ade29316d96")
    assert load_protocol("mri-paper").digest().startswith("c153bf44d65f1a92")
    assert load_protocol("mri-fastmri").digest().startswith("4408e6d6b32ab933")
    assert load_protocol("natural-compact").digest().startswith("8fd050f28fe0ce9a")


def test_with_steps_changes_steps_only():
    protocol = tiny.protocol()
    assert protocol.with_steps() == protocol
    longer = protocol.with_steps(unfold=99)
    assert (longer.prior_stage.steps, longer.unfold_stage.steps) == (12, 99)
    assert longer.with_steps(unfold=12).digest() == protocol.digest()
    assert longer.digest() != protocol.digest()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch = 8", "batch = 0", "prior_stage.batch"),
        ("blocks = 5", "blocks = 5\nblokcs = 3", "network.blokcs"),
        ('reader = "mat"', 'reader = "pickle"', "reader"),
        ("sizes = [96, 144]", "sizes = [144, 96]", "sizes are a range"),
        ("seed = 20261124", "seed = ", "is not TOML"),
        ("dropout = 0.0", "dropout = 1.5", "measurements.dropout"),
        ("sizes = [56, 72]", "sizes = [16, 72]", "measurements.blind.sizes: .*sizes are a range"),
        ("share = 0.3", "share = 1.0", "measurements.blind.share"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, old, new, message):
    from mrunfold.protocols import FOLDER

    source = (FOLDER / "mri-compact.toml").read_text(encoding="utf-8")
    assert old in source
    file = tmp_path / "mine.toml"
    file.write_text(source.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        load_protocol(str(file))
    assert "\n" not in str(caught.value)


def test_a_name_that_does_not_ship_gets_the_nearest():
    with pytest.raises(InputError, match="did you mean mri-compact"):
        load_protocol("mri-compct")
