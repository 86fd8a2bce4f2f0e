"""The tokenizer: reversible, strict about its file, and the learning rule by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.tokenizer import END_OF_TEXT, PADDING, Tokenizer
from visuotactile_ros.errors import ModelError

CAPTIONS = ['A soft rubber ball.', 'A rough stone edge.', 'Soft fabric, rough to the touch.']
TOKENIZER = Tokenizer.train(CAPTIONS, 300)


@given(st.text(max_size=40))
def test_any_text_comes_back_in_lower_case(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text.lower()


def test_first_merges_are_the_most_frequent_pairs():
    # 'ab' occurs 4 times, 'bc' twice; then 'ab'+'c' twice. Bytes a, b, c have the ids 2 + 97, 2 + 98, 2 + 99.
    tokenizer = Tokenizer.train(['abc', 'abc', 'ab', 'ab'], 260)
    assert tokenizer.merges == [(99, 100), (258, 101)]
    assert tokenizer.encode('abc') == [259]
    assert tokenizer.encode('cab') == [101, 258]


def test_learning_shortens_known_words():
    assert len(TOKENIZER.encode('rough')) < len('rough')
    assert len(TOKENIZER.encode('qzxj')) == 4


def test_batch_is_ended_padded_and_cut():
    tokens, lengths = TOKENIZER.encode_batch(['rough', 'qzxjqzxj'], 6)
    assert tokens.shape == (2, 6) and lengths.tolist() == [len(TOKENIZER.encode('rough')) + 1, 6]
    for row, length in zip(tokens, lengths, strict=True):
        assert row[length - 1] == END_OF_TEXT
        assert (row[length:] == PADDING).all()


def test_vocabulary_file_comes_back(tmp_path):
    TOKENIZER.save(tmp_path / 'vocabulary.json')
    assert Tokenizer.load(tmp_path / 'vocabulary.json').merges == TOKENIZER.merges


@pytest.mark.parametrize('content', ['', '[]', '{"merges": 3}', '{"merges": [[1]]}', '{"merges": [[5, 900]]}'])
def test_damaged_vocabulary_is_refused(tmp_path, content):
    path = tmp_path / 'vocabulary.json'
    path.write_text(content)
    with pytest.raises(ModelError, match='is not a vocabulary'):
        Tokenizer.load(path)
