"""Image classification: an encoder, an average over the map, one linear layer."""

from torch import Tensor, nn

from axial_deeplab.models.encoder import Encoder


class Classifier(nn.Module):
    """Map normalised images [batch, 3, height, width] of any size to logits [batch, num_classes]."""

    def __init__(self, encoder: Encoder, num_classes: int = 1000) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.encoder = encoder
        self.fc = nn.Linear(encoder.channels[max(encoder.channels)], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        features = self.encoder(images)
        return self.fc(features[max(features)].mean((2, 3)))
