package main

import "testing"

func TestConnectSummary(t *testing.T) {
	for _, test := range []struct {
		drains, warned int
		failed         []string
		broken         int
		want           string
	}{
		{0, 0, nil, 0, "summary: there are no drains to connect to"},
		{1, 0, nil, 0, "summary: the drain can be reached"},
		{1, 0, []string{"siem"}, 0, "summary: the drain failed: siem"},
		{3, 1, nil, 0, "summary: all 3 drains can be reached; 1 drain with a warning"},
		{3, 2, []string{"siem"}, 0, "summary: 2 of 3 drains can be reached; failed: siem; 2 drains with a warning"},
		{0, 0, nil, 1, "summary: there are no drains to connect to; 1 failure of the runtime docker"},
	} {
		if got := connectSummary(test.drains, test.warned, test.failed, test.broken); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}
