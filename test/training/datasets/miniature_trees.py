"""Miniature archives of published data sets: names, columns and quirks as published, pictures of a few pixels.

One file for all, so that the layouts can be read beside each other; hence its length.
"""

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


def ssvtp(root):
    """A header, captions of one line, one pair in no list; image 12 has no caption."""
    for number in (2, 10, 11, 12):
        picture(root / f'images_tac/image_{number}_tac.jpg')
        picture(root / f'images_rgb/image_{number}_rgb.jpg')
    for number in (2, 10, 11):
        text(root / f'text/labels_{number}.txt', 'soft, woven, warm.\nsecond line')
    header = 'url,tactile,caption'
    row = 'images_rgb/image_{0}_rgb.jpg,images_tac/image_{0}_tac.jpg,"soft, woven, warm."'
    text(root / 'train.csv', '\n'.join([header, row.format(10), row.format(2)]))
    text(root / 'test.csv', '\n'.join([header, row.format(12)]))
    text(root / 'finetune.json', '[]')
    text(root / 'synonyms.json', '{"soft": ["tender"]}')


GEL, SCENE = (90, 110, 160), (200, 60, 20)


def tvl_hct(root, swapped=('data2/1-1702508220.4',)):
    """Frames 16 and 165 in one folder; touch and vision exchanged in one trajectory, as in the original archive."""
    for part, trajectory in (('data1', '0-1702507215.6'), ('data2', '0-1702508112.9'), ('data2', '1-1702508220.4'),
                             ('data3', '0-1702509001.1')):
        folder = root / part / trajectory
        colours = {'tactile': GEL, 'vision': SCENE}
        if f'{part}/{trajectory}' in swapped:
            colours = {'tactile': SCENE, 'vision': GEL}
        for name in ('2-0.07', '14-0.46', '15-0.50', '16-0.53', '17-0.57', '165-5.50'):
            for kind, colour in colours.items():
                picture(folder / kind / f'{name}.jpg', colour)

    def row(trajectory, name, caption):
        return (f'{trajectory}/vision/{name}.jpg,{trajectory}/tactile/{name}.jpg,{trajectory}/tactile/2-0.07.jpg,'
                f'"{caption}"')

    def lists(trajectory, *names):
        import json
        return json.dumps({kind: [f'{trajectory}/{folder}/{name}.jpg' for name in names] for kind, folder in (
            ('tactile', 'tactile'), ('vision', 'vision'))} | {
            'background': [f'{trajectory}/tactile/2-0.07.jpg' for _ in names]})

    for part, first in (('data1', '0-1702507215.6'), ('data2', '0-1702508112.9'), ('data3', '0-1702509001.1')):
        other = '1-1702508220.4' if part == 'data2' else first
        header = 'vision,tactile,background,caption'
        train = [header, row(first, '16-0.53', 'smooth, hard'), row(first, '165-5.50', 'soft')]
        text(root / part / 'train.csv', '\n'.join(train))
        text(root / part / 'test.csv', '\n'.join([header, row(other, '17-0.57', 'grainy, rough')]))
        text(root / part / 'contact.json', lists(first, '15-0.50', '16-0.53'))
        text(root / part / 'not_contact.json', lists(first, '2-0.07'))
        text(root / part / 'finetune.json', '[]')
        picture(root / part / 'digit_background.png', GEL)


OCTOPI_CONSTANTS = """
import sys
TRAIN_OBJECTS = ['physiclear_rug', 'physiclear_pen_base']
VAL_OBJECTS = ['physiclear_lemon']
TEST_OBJECTS = [
    'physiclear_eraser',
    # "physiclear_avocado_1",
]
DESCRIPTIONS = {'physiclear_rug': ['The surface feels rough.'], 'physiclear_eraser': ['It feels moderately hard.']}
HARDNESS_RANK = {'physiclear_rug': 1, 'physiclear_pen_base': 2, 'physiclear_lemon': 1, 'physiclear_eraser': 1}
HARDNESS_MAP = {0: "soft", 1: "moderately hard", 2: "hard"}
ROUGHNESS_RANK = {'physiclear_eraser': 0, 'physiclear_rug': 2}
ROUGHNESS_MAP = {0: "smooth", 1: "slightly rough", 2: "rough"}
TEXTURE_RANK = {'physiclear_rug': 2}
TEXTURE_MAP = {0: "no bumps", 1: "small bumps", 2: "big bumps"}
RANKS = {"hardness": HARDNESS_RANK, "roughness": ROUGHNESS_RANK, "texture": TEXTURE_RANK}
raise SystemExit('run, not parsed')
"""


def octopi(root):
    """The repository: videos, of which one is too short and one has no label, and tables in a Python file."""
    for name in ('rug_0', 'rug_1', 'pen_base_0', 'lemon_0', 'eraser_0', 'ripe_avocado_0'):
        video(root / f'dataset/{name}.mov', 10 if name == 'rug_1' else 20)
    text(root / 'utils/constants.py', OCTOPI_CONSTANTS)


def octopi_processed(root):
    """Extracted frames with gaps in their numbers, and lists of samples."""
    import json
    text(root / 'utils/constants.py', OCTOPI_CONSTANTS)
    folders = {'train': 'rug_0', 'val': 'lemon_0', 'test': 'eraser_0', None: 'ripe_avocado_0'}
    for split, name in folders.items():
        for number in (7, 8, 9, 10, 31):
            picture(root / f'processed/physiclear_{name}/{number:010d}.jpg')
        if split:
            text(root / f'processed/{split}_samples.json',
                 json.dumps({f'physiclear_{name[:-2]}': [f'/home/author/processed/physiclear_{name}']}))
    picture(root / 'processed/physiclear_pen_base_0/0000000003.jpg')


TACQUAD_OBJECTS = ('apple', 'apple2', 'bottle', 'brush', 'cloth', 'cup', 'fork', 'mouse', 'sponge', 'yumaoqiu',
                   'yumaoqiu2')


def tacquad(root):
    """Lists without header; yumaoqiu is called shuttlecock on disk; gel and camera differ in their number of frames."""
    rows = {'indoor': [], 'outdoor': []}
    for place, items in (('indoor', TACQUAD_OBJECTS), ('outdoor', ('tree', 'wall3'))):
        for number, item in enumerate(items):
            folder = root / f'data_{place}' / item.replace('yumaoqiu', 'shuttlecock')
            for kind, touches, views in (('gelsight', 6, 3), ('digit', 5, 5), ('duragel', 4, 7)):
                for index in range(touches):
                    picture(folder / kind / f'{index}.png')
                for index in range(views):
                    picture(folder / f'img_{kind}' / f'{index}.png')
            rows[place].append(f'{item},2,4,0,1,3,3')
            tokens(root / f'text_tacquad/tacquad_{place}_{number}.pt', [49406, 1000 + number, 49407])
        text(root / f'contact_{place}.csv', '\n'.join(rows[place]))


def of_real(root):
    """A hundred objects; camera folders beside the gel, and lists that come from elsewhere."""
    materials = ('Ceramic', 'Wood', 'Steel', 'Iron', 'Plastic', 'Glass', 'Polycarbonate')
    for number in range(1, 101):
        for index in (1, 2, 10) if number == 7 else (1,):
            picture(root / f'{number}/tactile_data/0/0/gelsight/{index}.png')
        text(root / f'{number}/tactile_data/notes.txt', 'no trial')
    picture(root / '7/tactile_data/0/0/camera/2.png')
    text(root / 'objectfolder_real_metadata.csv', 'Index,Name,Material\n' + '\n'.join(
        f'{number},Thing_{number},{materials[number % 7]}' for number in range(1, 101)))
    text(root / 'contact_text_obj.csv',
         '7/tactile_data/0/0/gelsight/2.png,7/tactile_data/0/0/camera/2.png,5')
    tokens(root / 'text/obj_5.pt', [49406, 7, 49407])


def _objectfolder(root, folder, objects, others):
    import json
    for name in objects:
        for number in (0, 1):
            picture(root / folder / name / f'{number}.png')
    split = {'train': objects[:2], 'val': objects[2:3], 'test': objects[3:]}
    text(root / 'split.json', json.dumps(
        {key: [[name, number] for name in [*names, *others] for number in (1, 0)] for key, names in split.items()}))
    text(root / 'label.json', json.dumps({name: str(int(name) % 7) for name in [*objects, *others]}))


def objectfolder_1(root):
    """Lists shared with 2.0, whose objects have no image here."""
    _objectfolder(root, 'obj1.0', ('1', '2', '20', '100'), ('101', '1000'))


def objectfolder_2(root):
    """The benchmark's images, objects above 100."""
    _objectfolder(root, 'touch', ('101', '102', '200', '1000'), ('1', '100'))
    for name in ('101', '102', '200', '1000'):
        for number in (0, 1):
            picture(root / 'vision' / name / f'{number}.png')
    np.save(root / 'label_not_read.npy', np.arange(2))


def feel(root):
    """What the published extraction leaves, with the split as a pickled dictionary."""
    rows = []
    for name, grasps in (('lemon', (1, 0)), ('3d_printed_cup', (1,)), ('cow', (0,))):
        for number, success in enumerate(grasps):
            for moment in ('before', 'during', 'after'):
                picture(root / name / f'vision_{moment}/{number}.png')
                for finger in 'AB':
                    picture(root / name / f'touch_{moment}/{number}_{finger}.png')
            rows.append(f'{name},{number},{success}')
    text(root / 'feel.csv', '\n'.join(rows))
    np.save(root / 'split_3.npy', {'train': ['lemon', '3d_printed_cup'], 'test': ['cow']})


def feel_recordings(root):
    """Recordings as deepdish writes them: a list is a group of i0, i1, …; equal arrays are links."""
    import h5py
    root.mkdir(parents=True, exist_ok=True)
    for file_number, grasps in enumerate(([(b'lemon', 1), (b'cow', 0)], [(b'lemon', 0)])):
        with h5py.File(root / f'calandra_corl2017_{file_number:03d}.h5', 'w') as file:
            group = file.create_group('data')
            group.attrs['TITLE'] = np.bytes_(f'list:{len(grasps)}')
            for index, (name, success) in enumerate(grasps):
                grasp = group.create_group(f'i{index}')
                grasp.attrs['object_name'], grasp.attrs['is_gripping'] = np.bytes_(name), np.uint8(success)
                for kind in ('gelsightA', 'gelsightB', 'kinectA_rgb'):
                    for level, moment in enumerate(('before', 'during', 'after')):
                        grasp[f'{kind}_{moment}'] = np.full((6, 8, 3), 50 * level + index, np.uint8)
                del grasp['gelsightB_after']
                grasp['gelsightB_after'] = h5py.SoftLink(f'/data/i{index}/gelsightA_after')


def visgel(root):
    """Rows of eight paths that begin on the machine of the authors; frame0000 is the reference."""
    lists = {'train': [('seen', 'rec1', 'rec_001', 3), ('seen', 'rec1', 'rec_001', 4), ('seen', 'rec2', 'rec_004', 10)],
             'eval': [('seen', 'rec3', 'rec_009', 5), ('unseen', 'rec1', 'rec_001', 2)]}
    for name, rows in lists.items():
        lines = []
        for seen, group, recording, number in rows:
            def path(kind, frame, place=f'{group}/{recording}', seen=seen):
                picture(root / f'data_{seen}/{kind}/{place}/frame{frame:04d}.jpg')
                return f'../data/data_{seen}/{kind}/{place}/frame{frame:04d}.jpg'

            lines.append(' '.join([path('vision', 0), path('touch', 0), path('vision', number), path('touch', number),
                                   *(path('vision', max(0, number + step)) for step in (-2, -1, 1, 2))]))
        text(root / f'data_lst/{name}_vision2touch.txt', '\n'.join(lines) + '\n')


def cloth(root):
    """Eleven numbers a cloth; one trial has extracted frames, counted from 1, the others videos."""
    import json
    text(root / 'cloth_metadata.json', json.dumps(
        {str(number): [0, 1, 2, 0, 1, 0, 0, 0, 1, number % 3, number % 20] for number in range(11, 21)}))
    for number in range(11, 21):
        video(root / f'Data/{number}/2/GelSight_video.mp4', 3)
    for index in (1, 2, 3, 4):
        picture(root / f'Data/11/10/gelsight_frame/{index:04d}.png')


def ycb_slide(root):
    """Ten objects, five runs, frames of seven digits; the simulated part of one object."""
    from training.datasets.published.ycb_slide import OBJECTS
    for name in OBJECTS:
        for run in range(5):
            for number in (0, 1) if name == '025_mug' else (0,):
                picture(root / f'real/{name}/dataset_{run}/frames/frame_{number:07d}.jpg')
            np.save(root / f'real/{name}/dataset_{run}/digit_data.npy', np.arange(2))
    for number in (0, 2, 10):
        picture(root / f'sim/025_mug/00/tactile_images/{number}.jpg')
        picture(root / f'sim/025_mug/00/gt_heightmaps/{number}.jpg')
    text(root / 'sim/025_mug/00/tactile_data.pkl', 'never opened')


def vitactip(root):
    """A table with classes and quantities; a cell is empty."""
    rows = ['touch,object,frame_index,force_n,grating']
    for number in range(20):
        picture(root / f'force/o{number % 10}/{number}.png')
        grating = ('', 'coarse', 'fine')[number % 3]
        rows.append(f'force/o{number % 10}/{number}.png,o{number % 10},{number},{number / 4},{grating}')
    text(root / 'labels.csv', '\n'.join(rows))


def cifar_rows(labels, first):
    """Make rows of the binary version: labels, then a red plane of i, a green of i + 1 and a blue one of i + 2."""
    return b''.join(bytes(label) + b''.join(bytes([first + index + plane]) * 1024 for plane in range(3))
                    for index, label in enumerate(labels))


def cifar10(root):
    root.mkdir(parents=True, exist_ok=True)
    for number in range(1, 6):
        (root / f'data_batch_{number}.bin').write_bytes(cifar_rows([[6], [9]], 10 * number))
    (root / 'test_batch.bin').write_bytes(cifar_rows([[3]], 200))
    text(root / 'batches.meta.txt', 'airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n')
    text(root / 'readme.html', '')


def cifar100(root):
    root.mkdir(parents=True, exist_ok=True)
    (root / 'train.bin').write_bytes(cifar_rows([[11, 19], [0, 99]], 10))
    (root / 'test.bin').write_bytes(cifar_rows([[3, 50]], 100))
    text(root / 'coarse_label_names.txt', '\n'.join(f'group {number}' for number in range(20)) + '\n')
    text(root / 'fine_label_names.txt', '\n'.join(f'fine {number}' for number in range(100)) + '\n')


def imgnetdogs(root):
    rows = ['id,breed']
    for number in range(20):
        name = f'{number:032x}'
        picture(root / f'train/{name}.jpg')
        rows.append(f'{name},{("whippet", "beagle")[number % 2]}')
    text(root / 'labels.csv', '\n'.join(rows))
    picture(root / 'test/ffff.jpg')


TREES = {name: tree for name, tree in globals().items() if name in (
    'tag', 'ssvtp', 'tvl_hct', 'octopi', 'tacquad', 'of_real', 'objectfolder_1', 'objectfolder_2', 'feel', 'visgel',
    'cloth', 'ycb_slide', 'vitactip', 'cifar10', 'cifar100', 'imgnetdogs')}
