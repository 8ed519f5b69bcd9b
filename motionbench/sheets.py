"""Contact sheets: one row per clip, its frames side by side with the truth, for a person to look at."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

GAP, TITLE_HEIGHT = 4, 18               # pixels
PAPER, INK = (250, 249, 246), (32, 34, 38)
ROWS_PER_SHEET = 6


@dataclass(frozen=True)
class SheetRow:
    """One clip. The frame shown is the one where the generated video is worst, so that the sheet does not flatter."""

    title: str
    reference: np.ndarray       # (H, W, 3) uint8 RGB
    skeleton: np.ndarray        # (F, H, W, 3) the drawn poses that were given
    truth: np.ndarray           # (F, H, W, 3)
    generated: np.ndarray       # (F, H, W, 3)

    @property
    def worst(self) -> int:
        errors = [np.abs(a.astype(np.int16) - b).mean() for a, b in zip(self.generated, self.truth)]
        return int(np.argmax(errors))

    def cells(self) -> list[tuple[str, np.ndarray]]:
        """(caption, picture) from left to right: reference, then skeleton, truth, generated at two frames."""
        cells = [("reference", self.reference)]
        for name, frame in (("middle", len(self.truth) // 2), ("worst", self.worst)):
            cells += [(f"skeleton ({name})", self.skeleton[frame]), ("truth", self.truth[frame]),
                      ("generated", self.generated[frame])]
        return cells


def contact_sheets(rows: list[SheetRow]) -> list[np.ndarray]:
    """Sheets (H, W, 3) uint8 RGB of up to six rows each."""
    return [np.concatenate([_row_picture(row) for row in rows[start:start + ROWS_PER_SHEET]])
            for start in range(0, len(rows), ROWS_PER_SHEET)]


def _row_picture(row: SheetRow) -> np.ndarray:
    columns = []
    for index, (caption, picture) in enumerate(row.cells()):
        height, width = picture.shape[:2]
        cell = np.full((TITLE_HEIGHT + height + GAP, width + GAP, 3), PAPER, np.uint8)
        cell[TITLE_HEIGHT:TITLE_HEIGHT + height, :width] = picture
        text = f"{row.title} {caption}" if index == 0 else caption
        cv2.putText(cell, text, (2, TITLE_HEIGHT - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.38, INK, 1, cv2.LINE_AA)
        columns.append(cell)
    return np.concatenate(columns, axis=1)
