package e2e

import (
	"fmt"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks/porttest"
)

// TestRetention keeps drains down for longer than the retention of the streams. The records that
// one gets afterwards, and the gap records about the ones that it missed, are together all records
// of another drain, and none is in both. The dashboards show the records and the gaps in
// Elasticsearch.
func TestRetention(t *testing.T) {
	t.Parallel()
	up := httpsDrain(t, "up", ", format: ndjson")
	address := porttest.Reserve(t)
	down, start := laterHTTPSDrain(t, "down", address, t.TempDir(), ", format: ndjson")
	var startSearch func()
	search := ifThere(t, "search", func(t testing.TB, name string) (d *destination) {
		d, startSearch = laterElasticsearchDrain(t, name)
		return d
	})
	s := newSite(t, withDrains(down.entry, up.entry), entries(search))
	s.edit("store: ./data\n", "store: ./data\nstreams: {retention: 1m}\n")
	s.edit("plan: growth", "plan: growth, session_duration: 1m")
	bob := s.peopleOfDashboards()
	v := s.serve()
	session := func() string {
		t.Helper()
		got := runTo(t, v.openssh(v.site.key, "web@127.0.0.1", "seq 300"))
		if got.status != 0 {
			t.Fatalf("a session while a drain is down: %+v", got)
		}
		operation := operationOf(t, []byte(got.stderr))
		mustBe(t, up.name, "a session while another drain is down", up.transcript(t, operation).stdout, []byte(got.stdout))
		return operation
	}
	const gaps, missed = "ttydrain_drain_gaps_total", "ttydrain_drain_records_missed_total"
	if v.counter(gaps, down.name) != 0 || v.counter(missed, down.name) != 0 || v.counter("ttydrain_drain_unseen_losses_total", down.name) != 0 {
		t.Error("the drain missed something before there was anything")
	}
	first := session()
	all := countOf(up.arrived(t, 0), first)
	v.awaitStatus(down, func(s operate.DrainStatus) bool {
		return s.State == schema.DrainRetrying && s.LagRecords == uint64(all) && !s.LagAtLeast && s.LagSeconds > 0
	})
	await(t, "for the first session to be given up", func() bool { return v.counter(missed, down.name) == float64(all) })
	second := session()
	for _, d := range search {
		await(t, "for Elasticsearch to have missed the first session", func() bool { return v.counter(missed, d.name) == float64(all) })
		startSearch()
	}
	start()

	mustBe(t, down.name, "a session that the stream still had", down.transcript(t, second).stdout, up.transcript(t, second).stdout)
	records := make(map[string]record) // of the drain that was up
	for _, r := range up.arrived(t, 0) {
		records[fmt.Sprint(r.OperationID, "/", r.Sequence)] = r
	}
	accounted := make(map[string]string)
	account := func(operation string, sequence uint64, how string) record {
		key := fmt.Sprint(operation, "/", sequence)
		r, there := records[key]
		if !there || accounted[key] != "" && accounted[key] != how {
			t.Errorf("record %s: %s, and it was %q before", key, how, accounted[key])
		}
		accounted[key] = how
		return r
	}
	told := 0
	for _, r := range down.arrived(t, 0) {
		if r.Event != "gap" {
			if whole := account(r.OperationID, r.Sequence, "there"); string(whole.Exact) != string(r.Exact) {
				t.Errorf("operation %s: record %d is another", r.OperationID, r.Sequence)
			}
			continue
		}
		told++
		if r.OperationID != first || r.LastSequence < r.Sequence || r.Bytes == nil || r.Reason == "" || r.Uncertain || r.Signature == "" {
			t.Fatalf("a gap record of operation %s: %s", r.OperationID, r.Whole)
		}
		var bytes uint64
		for n := r.Sequence; n <= r.LastSequence; n++ {
			whole := account(r.OperationID, n, "missing")
			bytes += uint64(len(whole.Exact))
			if n == r.Sequence && whole.Offset != r.Offset || n == r.LastSequence && whole.Digest != r.Digest {
				t.Errorf("the gap %s does not go with record %d: %s", r.Whole, n, whole.Whole)
			}
		}
		if bytes != *r.Bytes {
			t.Errorf("the gap says %d bytes, and %d are missing", *r.Bytes, bytes)
		}
	}
	if len(accounted) != len(records) || told == 0 {
		t.Errorf("%d of %d records are accounted for, with %d gap records", len(accounted), len(records), told)
	}
	if n := v.counter(gaps, down.name); n != 1 {
		t.Errorf("%g gaps are counted", n)
	}
	if n := v.counter(missed, up.name); n != 0 {
		t.Errorf("%g records are missing at the drain that was up", n)
	}
	v.awaitStatus(down, func(s operate.DrainStatus) bool { return s.State == schema.DrainDelivering && s.LagRecords == 0 })
	for _, d := range search {
		v.checkDashboards(t, bob, d, up, first, second)
	}
	if status := v.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
}
