"""The parameters of known networks, as the shapes that torch gives them, by formula: nothing is downloaded."""

from collections.abc import Callable

Shapes = list[tuple[int, ...]]


def resnet50() -> Shapes:
    """ResNet-50's 161 parameters, 25.6 million elements: convolutions without bias, each with a normalization.

    Reference: He et al. 2016, table 1.
    """
    shapes: Shapes = [(64, 3, 7, 7), (64,), (64,)]
    channels = 64
    for blocks, width in ((3, 64), (4, 128), (6, 256), (3, 512)):
        for block in range(blocks):
            kernels = [(width, channels, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)]
            if block == 0:  # the shortcut gets more channels
                kernels.append((4 * width, channels, 1, 1))
            for kernel in kernels:
                shapes += [kernel, kernel[:1], kernel[:1]]
            channels = 4 * width
    return [*shapes, (1000, 2048), (1000,)]


def bert_base() -> Shapes:
    """BERT-base's 199 parameters, its pooler among them: 109.5 million elements.

    Reference: Devlin et al. 2019, section 3.
    """
    h, inner = 768, 3072
    attention: Shapes = [(h, h), (h,)] * 4 + [(h,), (h,)]
    layer = attention + [(inner, h), (inner,), (h, inner), (h,), (h,), (h,)]
    return [(30522, h), (512, h), (2, h), (h,), (h,), *(layer * 12), (h, h), (h,)]


NETWORKS: dict[str, Callable[[], Shapes]] = {
    "25M": lambda: [(25_000_000,)],
    "ResNet-50": resnet50,
    "BERT-base": bert_base,
    "1000 x 1000": lambda: [(1000,)] * 1000,
    "1 x 1000": lambda: [(1000,)],
}
