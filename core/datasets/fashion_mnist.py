"""Fashion-MNIST: 60,000 + 10,000 pictures of clothes, 28 x 28, in MNIST's files (Xiao et al. 2017, arXiv 1708.07747)."""

from typing import Literal

from core.datasets.mnist import IdxDataset, idx_sources

HOST = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"


class FashionMnist(IdxDataset):
    """Fashion-MNIST, 28 x 28 pictures of clothes (Xiao et al. 2017, arXiv 1708.07747; MIT licence)."""

    sources = idx_sources(
        HOST,
        "FashionMNIST/raw",
        (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    )

    name: Literal["fashion_mnist"] = "fashion_mnist"
