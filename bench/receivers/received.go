package receivers

import (
	"fmt"
	"time"

	"github.com/ttydrain/ttydrain/bench/corpus"
	"github.com/ttydrain/ttydrain/bench/measure"
)

// Complete returns an error unless the number of records is the one that the ends of the sessions
// report.
func (r Counts) Complete() error {
	if r.Records != r.Ends {
		return fmt.Errorf("%d records arrived, but the ends of the sessions report %d", r.Records, r.Ends)
	}
	return nil
}

// Verify compares the counts, after the sender has stopped, with the input.
func (r *Receiver) Verify(f corpus.Totals) error {
	got, err := r.count()
	if err != nil {
		return err
	}
	return got.Verify(f)
}

// Verify returns an error unless the counts are those of f.
func (r Counts) Verify(f corpus.Totals) error {
	if err := r.Complete(); err != nil {
		return err
	}
	if r.Sessions != f.Sessions || r.Shown != f.Bytes {
		return fmt.Errorf("%d sessions with %d bytes arrived, expected %d with %d", r.Sessions, r.Shown, f.Sessions, f.Bytes)
	}
	return nil
}

// NewSample returns the metrics of a run that sent f: took is its duration, and used and memory are
// the CPU time and the peak memory of the sender.
func NewSample(f corpus.Totals, took, used time.Duration, memory int64, got Counts) measure.Sample {
	n := float64(got.Records)
	s := measure.Sample{
		measure.RecordsMeasured: n, measure.RecordsPerSecond: n / took.Seconds(), measure.SecondsPerMillion: used.Seconds() / n * 1e6, measure.PeakMemory: float64(memory) / 1e6,
		measure.BytesPerRecord: float64(f.Bytes) / float64(f.Records),
	}
	if got.Processor > 0 { // that of Elasticsearch is not measured
		s[measure.ReceiverPerMillion] = got.Processor.Seconds() / n * 1e6
		s[measure.ReceivedPerRecord] = float64(got.Bytes) / n
	}
	return s
}
