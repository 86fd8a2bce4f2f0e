"""Miniature archives of published data sets: their names, columns and quirks, with pictures of a few pixels."""

import zlib

import cv2
import numpy as np


def picture(path, colour=None, width=8, height=6):
    """Write an image file that is told from others by its colour, RGB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((height, width, 3), (colour or colour_of(path))[::-1], np.uint8))


def colour_of(path):
    return tuple(zlib.crc32(str(path).encode()).to_bytes(4, 'big')[:3])


def video(path, frames, width=32, height=24):
    """Write a video whose frame i has the grey level 10 i."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 30, (width, height))
    assert writer.isOpened()
    for index in range(frames):
        writer.write(np.full((height, width, 3), 10 * index, np.uint8))
    writer.release()


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def tokens(path, ids, length=77):
    """Write a caption as it is published: token ids and their mask, as a saved pair of tensors."""
    import torch
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = torch.zeros(length, dtype=torch.long)
    mask[:len(ids)] = 1
    torch.save((torch.tensor(ids + [49407] * (length - len(ids))), mask), path)


TAG_CATEGORIES = ('Concrete', 'Plastic', 'Glass', 'Wood', 'Metal', 'Brick', 'Tile', 'Leather', 'Synthetic Fabric',
                  'Natural Fabric', 'Rubber', 'Paper', 'Tree', 'Grass', 'Soil', 'Rock', 'Gravel', 'Sand', 'Plants',
                  'Others')


def tag(root):
    """Two folders with frames, one with videos only; class 9 absent, class 10 in train alone, no newline at the end."""
    frames = {'20220511_164750': range(96, 103), '20220516_190814': range(10, 14)}
    for folder, numbers in frames.items():
        for number in numbers:
            for kind in ('gelsight_frame', 'video_frame'):
                picture(root / 'dataset' / folder / kind / f'{number:010d}.jpg')
    for name in ('gelsight.mp4', 'video.mp4'):
        video(root / 'dataset/20220601_182052' / name, 6)
    np.save(root / 'dataset/20220511_164750/time1.npy', np.arange(3))

    def lines(*entries):
        return '\n'.join(f'{folder}/{number:010d}.jpg,{label}' for folder, number, label in entries)

    one, two, three = '20220511_164750', '20220516_190814', '20220601_182052'
    train = [(one, 99, 10), (one, 100, 8), (three, 2, 3), (one, 101, 10)]
    test = [(one, 97, 8), (two, 10, 14), (two, 11, -1)]
    text(root / 'label.txt', lines(*train, *test, (one, 98, 8), (two, 12, -1)))
    text(root / 'train.txt', lines(*train))
    text(root / 'pretrain.txt', lines(*train))
    text(root / 'test.txt', lines(*test))
    text(root / 'train_rough.txt', lines((one, 99, 1), (one, 100, 0)))
    text(root / 'test_rough.txt', lines((two, 13, 1), (three, 2, 0)))
    categories = (f"'{name}': {number}" for number, name in enumerate(TAG_CATEGORIES))
    text(root / 'category_reference.txt', '\n'.join(categories))


TREES = {'tag': tag}
