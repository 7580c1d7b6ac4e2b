package measure

// A ProfilePart is a purpose that CPU time is used for. A sample of a profile belongs to the part
// with a prefix of the innermost function on its stack that has one.
type ProfilePart struct {
	Title    string
	Prefixes []string
}

const ofTTYDrain = "github.com/ttydrain/ttydrain/"

// OtherPart is the title of the CPU time that belongs to no part.
const OtherPart = "other"

// ProfileParts returns the parts, in the order of the table.
func ProfileParts() []ProfilePart {
	return []ProfilePart{
		{"TLS", []string{"crypto/tls."}},
		{"HTTP", []string{"net/http."}},
		{"SHA-256", []string{"crypto/internal/fips140/sha256.", "crypto/sha256."}},
		{"NATS server", []string{"github.com/nats-io/nats-server/"}},
		{"NATS client", []string{"github.com/nats-io/nats.go", "github.com/nats-io/nats%2ego"}},
		{"texts", []string{ofTTYDrain + "enrich.(*terminal)", ofTTYDrain + "enrich.(*row)", ofTTYDrain + "enrich.scan"}},
		{"enriching", []string{ofTTYDrain + "enrich."}},
		{"segments, chunks", []string{ofTTYDrain + "schema.AppendSegment", ofTTYDrain + "schema.(*Decoder)", ofTTYDrain + "schema.DecodeChunk"}},
		{"encoding", []string{ofTTYDrain + "schema.", ofTTYDrain + "sinks/"}},
		{"pipeline", []string{ofTTYDrain + "pipeline"}},
		{"collecting garbage", []string{"runtime.gcBgMarkWorker", "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcAssistAlloc"}},
		{"scheduling", []string{"runtime.mcall", "runtime.mstart", "runtime.systemstack", "runtime.goexit"}},
	}
}
