"""torchvision.ops.roi_align in torch alone, put into transformers' model where torchvision is not installed."""
import importlib
import types

import torch

# by this way: without torchvision the package answers with a placeholder that raises
modeling_sam3 = importlib.import_module("transformers.models.sam3.modeling_sam3")


def axis_weights(low, high, cells, length):
    """[cells, length]: how much each of `length` samples on a line counts in the mean of each of `cells` equal parts of
    [low, high]: bilinear samples, ceil(part) of them a part, zero outside [-1, length]."""
    part = (high - low) / cells
    n = max(int(torch.ceil(part)), 1)
    at = low + torch.arange(cells)[:, None] * part + (torch.arange(n) + .5) * part / n
    inside = (at >= -1) & (at <= length)
    at = at.clamp(0, length - 1)
    below = at.floor().long()
    above = (below + 1).clamp(max=length - 1)
    w = torch.zeros(cells, n, length, dtype=low.dtype)
    w.scatter_add_(2, below[..., None], (1 - (at - below))[..., None])
    w.scatter_add_(2, above[..., None], (at - below)[..., None])
    return (w * inside[..., None]).sum(1) / n


def roi_align(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1, aligned=False):
    """The call that transformers makes: a list of [n, 4] boxes an image, square output, everything else default."""
    if spatial_scale != 1 or sampling_ratio != -1 or aligned:
        raise NotImplementedError("only the defaults")
    height, width = input.shape[-2:]
    out = []
    for image, image_boxes in zip(input, boxes):
        for x0, y0, x1, y1 in image_boxes:
            rows = axis_weights(y0, y0 + (y1 - y0).clamp(min=1), output_size, height)
            cols = axis_weights(x0, x0 + (x1 - x0).clamp(min=1), output_size, width)
            out.append(torch.einsum("chw,ih,jw->cij", image, rows, cols))
    return torch.stack(out) if out else input.new_zeros(0, input.shape[1], output_size, output_size)


if not hasattr(modeling_sam3, "torchvision"):
    modeling_sam3.torchvision = types.SimpleNamespace(ops=types.SimpleNamespace(roi_align=roi_align))
