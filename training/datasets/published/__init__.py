"""Adapters of published data sets: one file each, and one line here."""

from __future__ import annotations

from training.datasets.published.cifar import Cifar10, Cifar100
from training.datasets.published.cloth import Cloth
from training.datasets.published.feel import FeelingOfSuccess
from training.datasets.published.imgnetdogs import ImgNetDogs
from training.datasets.published.interface import PublishedDataset
from training.datasets.published.objectfolder import ObjectFolder1, ObjectFolder2
from training.datasets.published.octopi import PhysiClear
from training.datasets.published.of_real import ObjectFolderReal
from training.datasets.published.ssvtp import Ssvtp
from training.datasets.published.tacquad import TacQuad
from training.datasets.published.tag import TouchAndGo
from training.datasets.published.tvl_hct import HumanCollectedTouch
from training.datasets.published.visgel import VisGel
from training.datasets.published.vitactip import ImageTable
from training.datasets.published.ycb_slide import YcbSlide

DATASETS: dict[str, PublishedDataset] = {adapter.name: adapter for adapter in (
    TouchAndGo(), Ssvtp(), HumanCollectedTouch(), PhysiClear(), TacQuad(), ObjectFolderReal(), ObjectFolder1(),
    ObjectFolder2(), FeelingOfSuccess(), VisGel(), Cloth(), YcbSlide(), ImageTable(), Cifar10(), Cifar100(),
    ImgNetDogs(),
)}
