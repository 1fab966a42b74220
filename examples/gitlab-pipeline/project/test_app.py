import unittest

import app


class Test(unittest.TestCase):
    def test_the_answer_names_the_commit(self):
        self.assertTrue(app.answer("0123456789").endswith("of 01234567"))
