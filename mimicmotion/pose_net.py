"""PoseNet: pose frames → features of the latent's size, for the UNet's first layer (MimicMotion §3.2)."""
from einops import rearrange
from torch import Tensor, nn, ones

LAYERS = (               # in, out, kernel, stride: three strides of 2 go from pixels to the latent's 1/8
    (3, 3, 3, 1), (3, 16, 4, 2), (16, 16, 3, 1), (16, 32, 4, 2), (32, 32, 3, 1), (32, 64, 4, 2), (64, 64, 3, 1),
    (64, 128, 3, 1))


class PoseNet(nn.Module):
    """Eight convolutions with SiLU and a 1x1 projection, times a learnt scale. A new one gives zeros."""

    def __init__(self, out_channels: int):
        super().__init__()
        layers = []
        for n_in, n_out, kernel, stride in LAYERS:
            layers += [nn.Conv2d(n_in, n_out, kernel, stride, padding=1), nn.SiLU()]
        self.conv_layers = nn.Sequential(*layers)
        self.final_proj = nn.Conv2d(LAYERS[-1][1], out_channels, kernel_size=1)
        self.scale = nn.Parameter(ones(1) * 2)
        self.reset_parameters()

    def reset_parameters(self):
        """He initialisation of the convolutions; zeros in the projection, so that training starts from plain SVD."""
        for layer in self.conv_layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.final_proj.weight)
        nn.init.zeros_(self.final_proj.bias)

    def forward(self, poses: Tensor) -> Tensor:
        """poses: (N, 3, H, W) or (B, F, 3, H, W) in [-1, 1] → (N or B*F, out_channels, H/8, W/8)."""
        if poses.ndim == 5:
            poses = rearrange(poses, "b f c h w -> (b f) c h w")
        return self.final_proj(self.conv_layers(poses)) * self.scale
