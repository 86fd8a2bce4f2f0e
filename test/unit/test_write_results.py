"""The results page says what its JSON files say, and the committed page is up to date."""

import json

from training.evaluation.markdown import NOTHING, table
from training.evaluation.write_results import RESULTS_FOLDER, SECTIONS, main, render_page


def test_numbers_come_from_the_file(tmp_path):
    controller = {'mean_abs_error_g': 1.234, 'ci95_g': [1.0, 1.5], 'p95_abs_error_g': 3.0, 'limit_violations': 0,
                  'completed': 40, 'n': 40}
    (tmp_path / 'pour_benchmark.json').write_text(json.dumps({'controllers': {'policy': controller}}))
    page = render_page(tmp_path)
    assert '| policy | 1.23 | 1 … 1.5 | 3 | 0 | 40 | 40 |' in page
    assert page.count('Not run yet.') == len(SECTIONS) - 1


def test_table_has_a_rule_under_its_header():
    assert table(('a', 'b'), [[0.0, 'x']]) == ['| a | b |', '| --- | --- |', '| 0 | x |']
    assert table(('a', 'b'), []) == ['| a | b |', '| --- | --- |']


def test_table_leaves_out_columns_that_say_nothing():
    assert table(('a', 'b'), [[[1, 2.5], NOTHING]]) == ['| a |', '| --- |', '| 1 … 2.5 |']


def test_committed_page_is_generated_from_the_committed_files():
    assert RESULTS_FOLDER.is_dir()
    assert main(['--check']) == 0
