package schema

// recordVersion is the @version of records, as Logstash has it.
const recordVersion = "1"

// Formats holds the latest versions of the formats that this program writes. It reads these and all
// earlier ones.
type Formats struct {
	Record  string `json:"record"`  // @version of the records that drains receive
	Chunk   int    `json:"chunk"`   // messages on the TTY stream
	Segment int    `json:"segment"` // messages on the LOGS stream
}

// CurrentFormats returns the formats of this program.
func CurrentFormats() Formats {
	return Formats{Record: recordVersion, Chunk: chunkVersion, Segment: segmentVersion}
}
