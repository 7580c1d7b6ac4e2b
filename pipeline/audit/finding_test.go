package audit

import (
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/replay"
)

func TestFindingString(t *testing.T) {
	offset := uint64(7)
	for _, test := range []struct {
		finding Finding
		want    string
	}{
		{Finding{Kind: NoEnd, What: "the end is missing"}, "no end: the end is missing"},
		{Finding{Kind: Missing, First: 3, Last: 3, What: "not in the copy"}, "missing: record 3: not in the copy"},
		{Finding{Kind: Missing, First: 3, Last: 5, Offset: &offset, What: "not in the copy"}, "missing: records 3 to 5, at byte 7: not in the copy"},
		{Finding{Kind: Changed, First: 2, Last: 2, Offset: &offset, Place: &replay.Place{Name: "siem.ndjson", Line: 9}, What: "its text differs"},
			"changed: record 2, at byte 7, in siem.ndjson:9: its text differs"},
	} {
		if got := test.finding.String(); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}
