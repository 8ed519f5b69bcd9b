"""The published programs' way of working, re-enacted on the same weights, for the benchmark to compare with.

Facts are those of MimicMotion's, DWPose's and T2M-GPT's public code: what is computed how often, in which precision and
on which canvas. Results equal ours to rounding, which the tests check: the comparison is of work, not of outcomes.
"""
from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from diffusers import EulerDiscreteScheduler, UNetSpatioTemporalConditionModel
from torch import Tensor

import dwpose.draw as brush
from dwpose.networks import (BOX_PADDING, CANDIDATE_SCORE, crop, CROP_HEIGHT, CROP_WIDTH, INPUT_SIZE, MAX_OVERLAP,
                             PAD_VALUE, PERSON_CLASS, PERSON_SCORE, PIXEL_MEAN, PIXEL_STD, STRIDES, surviving)
from dwpose.skeleton import FACE, LEFT_HAND, openpose18, RIGHT_HAND, SEEN_CONFIDENCE, Skeleton
from mimicmotion.diffusion import tile_ranges, tile_weights
from mimicmotion.latents import added_time_ids, image_embeddings, image_latents
from mimicmotion.pipeline import PoseToVideo
from runtime.weights import empty
from t2m.networks import GPT


@torch.no_grad()
def sample(model: PoseToVideo, image: np.ndarray, poses: np.ndarray, generator: torch.Generator, *,
           num_inference_steps: int, guidance_scale: float = 2.0, tile_size: int = 72, tile_overlap: int = 6) -> Tensor:
    """Latents (F, 4, h, w). Each step and tile: poses sent and PoseNet run again, two passes of the plain UNet, every
    cross-attention worked out; the last tile is a full one whatever remains."""
    unet = plain_unet(model)
    device, num_frames = model.device, len(poses)
    scheduler = EulerDiscreteScheduler.from_config(model.scheduler.config)
    scheduler.set_timesteps(num_inference_steps, device=device)
    pixels = published_pixels(image[None]).to(device)                                     # (1, 3, H, W)
    torch.randn(pixels.shape, generator=generator)                                        # drawn also at strength 0
    picture = image_latents(model.vae, pixels)
    embedding = image_embeddings(model.image_encoder, pixels)
    numbers = added_time_ids(7, 127, 0.0).to(device, model.dtype)
    noise = torch.randn((min(tile_size, num_frames), *picture.shape[1:]), generator=generator).to(device)
    latents = noise.repeat(-(-num_frames // len(noise)), 1, 1, 1)[:num_frames] * scheduler.init_noise_sigma
    pose_pixels = published_pixels(poses).to(model.dtype)                                 # (F, 3, H, W) on the CPU
    ranges = tile_ranges(num_frames, tile_size, tile_overlap, "published")
    for timestep in scheduler.timesteps:
        noisy = scheduler.scale_model_input(latents, timestep).to(model.dtype)
        summed = [torch.zeros_like(latents) for _ in range(2)]                            # without, with conditions
        total = latents.new_zeros(num_frames, 1, 1, 1)
        for frames in ranges:
            weight = tile_weights(len(frames)).to(latents)[:, None, None, None]
            features = model.pose_net(pose_pixels[frames].to(device))
            still = picture.expand(len(frames), -1, -1, -1)
            for part, told, token, pose in ((summed[0], torch.zeros_like(still), torch.zeros_like(embedding), None),
                                            (summed[1], still, embedding, features)):
                rows = torch.cat([noisy[frames], told], dim=1)[None]                      # (1, T, 8, h, w)
                part[frames] += weight * plain_call(unet, pose, rows, timestep, token, numbers)[0].float()
            total[frames] += weight
        without, given = (part / total for part in summed)
        latents = scheduler.step(without + guidance_scale * (given - without), timestep, latents).prev_sample
    return latents


def published_pixels(frames: np.ndarray) -> Tensor:
    """(N, H, W, 3) uint8 → (N, 3, H, W) float32 in [-1, 1], on the CPU."""
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))).float() / 127.5 - 1


def plain_unet(model: PoseToVideo) -> UNetSpatioTemporalConditionModel:
    """diffusers' own UNet with the model's weights, channels first."""
    unet = empty(UNetSpatioTemporalConditionModel.from_config, model.unet.config, "benchmark")
    unet.load_state_dict({name: tensor.contiguous() for name, tensor in model.unet.state_dict().items()}, assign=True)
    return unet.to(model.device).eval()


def plain_call(unet: UNetSpatioTemporalConditionModel, pose: Tensor | None, *inputs: Tensor) -> Tensor:
    """The UNet's v with pose features added to what its first convolution gives."""
    if pose is None:
        return unet(*inputs).sample
    hook = unet.conv_in.register_forward_hook(lambda module, given, output: output + pose)
    try:
        return unet(*inputs).sample
    finally:
        hook.remove()


@torch.no_grad()
def decode(vae, latents: Tensor, chunk_size: int = 8) -> np.ndarray:
    """(F, 4, h, w) → (F, H, W, 3) uint8, truncated; every float32 frame is kept until the end."""
    chunks = [vae.decode((part / vae.config.scaling_factor).to(vae.dtype), num_frames=len(part)).sample.float().cpu()
              for part in latents.split(chunk_size)]
    video = (torch.cat(chunks) / 2 + 0.5).clamp(0, 1)                                     # (F, 3, H, W)
    return (video * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


@torch.no_grad()
def gpt_tokens(gpt: GPT, text: Tensor, num_tokens: int) -> list[int]:
    """Greedy tokens; every one reruns all before it, and one run more ends the loop."""
    codes = None
    for position in range(num_tokens + 1):
        logits = gpt(codes, text)[:, -1]                                                  # (1, V + 1)
        if position == num_tokens:
            break
        logits[:, gpt.end_token] = -math.inf                                              # as long as ours
        token = logits.softmax(dim=-1).topk(1, dim=-1).indices                            # (1, 1)
        codes = token if codes is None else torch.cat([codes, token], dim=1)
    return codes[0].tolist()


def draw(skeleton: Skeleton) -> np.ndarray:
    """(F, H, W, 3) uint8 in the "mimicmotion" style; each frame on a new canvas of 2160 pixels, dimmed whole."""
    look, (height, width) = brush.STYLES["mimicmotion"], skeleton.size
    factor = look.short_side / min(height, width)
    frames = []
    for person in skeleton.keypoints.astype(np.float64):                                  # (133, 3)
        canvas = np.zeros((int(height * factor), int(width * factor), 3), np.uint8)
        person[:, :2] = person[:, :2] / (width, height) * (canvas.shape[1], canvas.shape[0])
        body = openpose18(person[None])[0]                                                # (18, 3)
        for (start, end), colour in zip(brush.LIMBS, brush.RAINBOW):
            if min(body[start, 2], body[end, 2]) >= SEEN_CONFIDENCE:
                middle, (dx, dy) = (body[start] + body[end]) / 2, body[start, :2] - body[end, :2]
                polygon = cv2.ellipse2Poly((int(middle[0]), int(middle[1])), (int(np.hypot(dx, dy) / 2), 4),
                                           int(np.degrees(np.arctan2(dy, dx))), 0, 360, 1)
                cv2.fillConvexPoly(canvas, polygon, [int(c * body[start, 2] * body[end, 2]) for c in colour])
        canvas = (canvas * brush.LIMB_DIMMING).astype(np.uint8)
        for (x, y, score), colour in zip(body, brush.RAINBOW):
            if score >= SEEN_CONFIDENCE:
                cv2.circle(canvas, (int(x), int(y)), 4, [int(c * score) for c in colour], -1)
        for side in (LEFT_HAND, RIGHT_HAND):
            brush._draw_hand(canvas, person[side], look)
        brush._draw_dots(canvas, person[FACE], look.face_radius, brush.FACE_COLOUR, look)
        frames.append(cv2.resize(canvas, (width, height))[..., ::-1])
    return np.stack(frames)


def detect(people_session, pose_session, frames: np.ndarray) -> np.ndarray:
    """Everybody's keypoints with OpenPose's neck, (F, 134, 3) of the best person; frame by frame, person by person."""
    return np.stack([with_neck(best_person(people_session, pose_session, frame)) for frame in frames])


def best_person(people_session, pose_session, frame: np.ndarray) -> np.ndarray:
    """(133, 3): coordinates and score of the most confident person."""
    height, width = frame.shape[:2]
    square = np.ones((INPUT_SIZE, INPUT_SIZE, 3), np.uint8) * PAD_VALUE
    ratio = min(INPUT_SIZE / height, INPUT_SIZE / width)
    resized = cv2.resize(frame, (int(width * ratio), int(height * ratio)), interpolation=cv2.INTER_LINEAR)
    square[:resized.shape[0], :resized.shape[1]] = resized
    image = np.ascontiguousarray(square.transpose(2, 0, 1), np.float32)
    raw = people_session.run(None, {"images": image[None]})[0][0]                         # (8400, 85)
    sides = [INPUT_SIZE // stride for stride in STRIDES]
    cells = np.concatenate([np.stack(np.meshgrid(np.arange(n), np.arange(n)), axis=2).reshape(-1, 2) for n in sides])
    stride = np.concatenate([np.full((n * n, 1), step) for n, step in zip(sides, STRIDES)])
    centre, extent = (raw[:, :2] + cells) * stride, np.exp(raw[:, 2:4]) * stride
    boxes = np.concatenate([centre - extent / 2, centre + extent / 2], axis=1) / ratio
    scores = raw[:, 4:5] * raw[:, 5:]                                                     # (8400, 80)
    kept = {}
    for kind in range(scores.shape[1]):
        rows = np.flatnonzero(scores[:, kind] > CANDIDATE_SCORE)
        if len(rows):
            kept[kind] = rows[surviving(boxes[rows], scores[rows, kind], MAX_OVERLAP)]
    persons = [box for box in kept[PERSON_CLASS - 5] if scores[box, PERSON_CLASS - 5] > PERSON_SCORE]
    found = [keypoints_in(pose_session, frame, boxes[row]) for row in persons]
    return found[0]


def keypoints_in(pose_session, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(133, 3) of one box; the network's input is normalised in float64 and handed over as a list."""
    centre, (width, height) = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) * BOX_PADDING
    aspect = CROP_WIDTH / CROP_HEIGHT
    extent = np.array((width, width / aspect) if width > height * aspect else (height * aspect, height))
    pixels = (crop(frame, centre, extent) - PIXEL_MEAN.astype(np.float64)) / PIXEL_STD
    given = np.array([pixels.transpose(2, 0, 1)]).astype(np.float32)                      # what onnxruntime makes of it
    simcc_x, simcc_y = pose_session.run(None, {"input": given})
    points = np.stack([simcc_x[0].argmax(-1), simcc_y[0].argmax(-1)], axis=-1).astype(np.float64)
    score = np.minimum(simcc_x[0].max(-1), simcc_y[0].max(-1))
    points[score <= 0] = -1
    points = points / 2 / (CROP_WIDTH, CROP_HEIGHT) * extent + centre - extent / 2
    return np.concatenate([points, score[:, None]], axis=1)


def with_neck(person: np.ndarray) -> np.ndarray:
    """(133, 3) → (134, 3): the middle of the shoulders is put in after the body."""
    neck = person[[5, 6]].mean(axis=0)
    neck[2] = (person[[5, 6], 2] > SEEN_CONFIDENCE).all()
    return np.insert(person, 17, neck, axis=0)
