package measure

import "time"

// Megabyte is a million bytes.
const Megabyte = 1e6

// Milliseconds returns a duration in milliseconds.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Metrics of drains.
const (
	RecordsMeasured    = "records"
	BytesPerRecord     = "bytes_per_record"
	RecordsPerSecond   = "records_per_second"
	SecondsPerMillion  = "processor_seconds_per_million_records"
	ReceiverPerMillion = "receiver_processor_seconds_per_million_records"
	ReceivedPerRecord  = "received_bytes_per_record"
	PeakMemory         = "peak_memory_megabytes"
)

// Metrics of SSH servers.
const (
	EchoP50    = "echo_p50_ms"
	EchoP99    = "echo_p99_ms"
	CatRate    = "cat_megabytes_per_second"
	CatSeconds = "cat_processor_seconds_per_100_megabytes"
)

// Metrics of many sessions at once.
const (
	SessionsOpen  = "sessions"
	SessionsRate  = "sessions_opened_per_second"
	SessionsEcho  = "sessions_echoes_per_second"
	SessionsP50   = "sessions_echo_p50_ms"
	SessionsP99   = "sessions_echo_p99_ms"
	ServerKiB     = "server_kibibytes_per_session"
	ServerMoreKiB = "server_other_processes_kibibytes_per_session"
	ServerAllKiB  = "server_all_kibibytes_per_session"
)

// Metrics of latency.
const (
	LatencyP50    = "latency_p50_ms"
	LatencyP99    = "latency_p99_ms"
	LatencyP999   = "latency_p999_ms"
	LatencyMax    = "latency_max_ms"
	LatencyRate   = "shown_lines_per_second"
	LatencyCPU    = "live_processor_seconds_per_million_lines"
	LatencyStages = "stage_p99_ms_" // followed by the name of the stage
)

// The stages of a record from the terminal to the drain, as in the names of ttydrain's metrics.
const (
	StageCapture = "ttydrain_capture_duration_seconds"
	StageEnrich  = "ttydrain_enrich_duration_seconds"
	StageRoute   = "ttydrain_drain_route_duration_seconds"
)

// Metrics of a soak.
const (
	SoakTime     = "soak_seconds"
	SoakRate     = "soak_records_per_second"
	SoakCPU      = "router_processor_seconds_per_million_records"
	SoakResident = "router_peak_megabytes"
	SoakMean     = "router_mean_megabytes_of_the_second_half"
	SoakHeap     = "router_heap_peak_megabytes"
	SoakSlope    = "router_slope_kilobytes_per_minute"
)

// Metrics of growth and fan-out.
const (
	GrowthUnits    = "units"             // of work
	GrowthCPU      = "processor_seconds" // of the process
	GrowthUnitCPU  = "processor_microseconds_per_unit"
	GrowthWall     = "seconds"
	GrowthPeak     = "peak_megabytes"
	GrowthRepeats  = "repeats_per_record"
	GrowthReceiver = "receiver_processor_seconds"
	FanoutEnriched = "enriched_records_per_record" // on the TTY stream
	// FanoutExtra is the cost of all drains but the first, as a multiple of the sink's in the same
	// round.
	FanoutExtra = "extra_drain_per_sink"
	SinkCPU     = "sink_processor_microseconds_per_record"
)

// Metrics of catching up.
const (
	CatchupBacklog = "backlog_records"
	CatchupRate    = "catch_up_records_per_second"
	CatchupCPU     = "catch_up_processor_seconds_per_million_records"
	CatchupBefore  = "live_p99_ms_before"
	CatchupDuring  = "live_p99_ms_during"
	CatchupLive    = "live_lines_per_second"
)

// Metrics of profiles.
const (
	// ProfilePrefix begins the names of profiled subjects.
	ProfilePrefix = "profile/"
	ProfileShare  = "percent_of_processor_time: " // followed by the title of the part
)
