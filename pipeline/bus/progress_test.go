package bus

import (
	"reflect"
	"testing"
	"time"
)

func TestProgressRoundTrip(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123)
	for want, p := range map[string]Progress{
		"0":                                      {},
		"7":                                      {Sequence: 7, Reached: 7},
		"7 id":                                   {Sequence: 7, Rewind: "id", Reached: 7},
		"7 id 9":                                 {Sequence: 7, Rewind: "id", Reached: 9},
		"7 - 9 1700000000123":                    {Sequence: 7, Reached: 9, Safe: at},
		"7 - - - logs.0.*.*.*,logs.0.a.b.*":      {Sequence: 7, Reached: 7, Match: "logs.0.*.*.*,logs.0.a.b.*"},
		"18446744073709551615 - - 1700000000123": {Sequence: 1<<64 - 1, Reached: 1<<64 - 1, Safe: at},
		"7 - - - - 2:1,3:40,100:2":               {Sequence: 7, Reached: 7, DeliveredAhead: []Part{{9, 1}, {10, 40}, {107, 2}}},
		"7 - - - - - 3:5,18:7":                   {Sequence: 7, Reached: 7, Abandoned: Abandonments{{3, 5}, {18, 7}}},
	} {
		if got := string(p.append(nil)); got != want {
			t.Errorf("%+v is %q, want %q", p, got, want)
		}
		if got, err := parseProgress([]byte(want)); err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("%q is %+v, %v; want %+v", want, got, err, p)
		}
	}
	for _, bad := range []string{"", "x", "-1", "7 id x", "7 - - soon", "7 - - - - 2:1,x", "7 - - - - ,", "7 - - - - 2", "7 - - - - - 3:5,", "7 - - - - - 3"} {
		if p, err := parseProgress([]byte(bad)); err == nil {
			t.Errorf("%q is read as %+v", bad, p)
		}
	}

	// Entries before the position are dropped, and the rest is limited to the size of a bucket's
	// value.
	p := Progress{Sequence: 10, Reached: 10}
	for sequence := range uint64(2 * maxDeliveredAhead) {
		p.DeliveredAhead = append(p.DeliveredAhead, Part{sequence + 1, 1})
	}
	got, err := parseProgress(p.append(nil))
	if err != nil || len(got.DeliveredAhead) != maxDeliveredAhead-10 || got.DeliveredAhead[0] != (Part{11, 1}) {
		t.Errorf("%d messages are kept, from %+v on, %v", len(got.DeliveredAhead), got.DeliveredAhead[0], err)
	}
}
