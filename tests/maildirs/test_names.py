"""Claims about the names of files in Maildirs."""

from twisted.trial.unittest import SynchronousTestCase

from postroom.maildirs.line_ends import Sizes
from postroom.maildirs.names import FileName, crlf_size_in, new_base, size_fields, size_in


class FileNames(SynchronousTestCase):
    def test_a_name_is_base_and_flags(self) -> None:
        for text, base, flags in (
            ("1.M2.host", "1.M2.host", ""),
            ("1.M2.host:2,", "1.M2.host", ""),
            ("1.M2.host,S=5,W=6:2,FSa", "1.M2.host,S=5,W=6", "FSa"),
            ("1.M2.host:1,x", "1.M2.host", ""),
            ("odd", "odd", ""),
        ):
            self.assertEqual(FileName.parse(text), FileName(base, flags))

    def test_flags_are_written_in_order_and_once(self) -> None:
        name = FileName.parse("1.M2.host:2,Sa").flagged("FSR", "T")
        self.assertEqual(str(name), "1.M2.host:2,FRSa")
        self.assertEqual(str(name.flagged(remove="SF")), "1.M2.host:2,Ra")

    def test_keywords_are_no_standard_flags(self) -> None:
        self.assertEqual(FileName.parse("x:2,FSab").standard_flags, "FS")

    def test_the_size_is_the_one_that_dovecot_reads(self) -> None:
        self.assertEqual(size_in("1.M2.host,S=512:2,S"), 512)
        self.assertEqual(size_in("1.M2.host,S=512,W=530"), 512)
        for name in ("1.M2.host", "x,S=", "x,S=5a", "x,S=-5", "x,W=5", "x,S=" + "9" * 30):
            self.assertIsNone(size_in(name), name)

    def test_the_size_with_crlf_stands_beside_it(self) -> None:
        self.assertEqual(crlf_size_in("1.M2.host,S=512,W=530:2,S"), 530)
        for name in ("1.M2.host,S=512", "x,W=", "x,W=5a", "x,S=5", "x,W=" + "9" * 30):
            self.assertIsNone(crlf_size_in(name), name)

    def test_no_two_new_names_are_the_same(self) -> None:
        names = {new_base(size_fields(Sizes(5, 6))) for _ in range(1000)}
        self.assertEqual(len(names), 1000)
        self.assertEqual({(size_in(name), crlf_size_in(name)) for name in names}, {(5, 6)})
        self.assertTrue(all(name.endswith(",S=5,W=6") for name in names))
        self.assertFalse(any(set(name) & {"/", ":"} for name in names))
