package schema

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// Names of the JetStream streams and KV buckets.
const (
	StreamTTY        = "TTY"
	StreamLogs       = "LOGS"
	StreamDeadLetter = "DEADLETTER"
	StreamAudit      = "AUDIT"

	BucketOperations = "operations"
	BucketSessions   = "sessions"
	BucketPositions  = "positions"
	BucketLeases     = "leases"
)

// First tokens of the subjects of each stream.
const (
	prefixTTY  = "tty"
	prefixLogs = "logs"
)

// Token encodes s as one token of a NATS subject or KV key: every byte other than a letter, a
// digit, "-" and "_" becomes "=" and two hexadecimal digits. Distinct strings have distinct tokens.
func Token(s string) string {
	if s == "" {
		return "="
	}
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}

// Partition returns the partition of an operation among n. It is a stable function of both.
func Partition(operationID string, n int) int {
	h := fnv.New32a()
	h.Write([]byte(operationID))
	return int(h.Sum32() % uint32(n))
}

// SubjectTTY returns the subject of an operation's chunks:
// tty.<partition>.<stack>.<app>.<operation>. [LogsOf] returns that of its segments.
func SubjectTTY(op *Operation, partitions int) string {
	return prefixTTY + "." + strconv.Itoa(Partition(op.ID, partitions)) + "." + Token(op.Stack) + "." + Token(op.App) + "." + Token(op.ID)
}

// LogsOf returns the subject on LOGS for an operation's subject on TTY.
func LogsOf(ttySubject string) string {
	return prefixLogs + strings.TrimPrefix(ttySubject, prefixTTY)
}

// FilterTTY returns the filter for all chunks of one partition, or of all partitions for -1.
func FilterTTY(partition int) string { return filter(prefixTTY, partition, "", "") }

// FilterLogs returns the filter for the segments of a partition (-1: all), stack ("": all) and app
// ("": all).
func FilterLogs(partition int, stack, app string) string {
	return filter(prefixLogs, partition, stack, app)
}

// FilterOperationTTY returns the filter for the chunks of one operation.
func FilterOperationTTY(id string, partitions int) string {
	return prefixTTY + "." + strconv.Itoa(Partition(id, partitions)) + ".*.*." + Token(id)
}

// FilterOperation returns the filter for the segments of one operation.
func FilterOperation(id string, partitions int) string {
	return prefixLogs + "." + strconv.Itoa(Partition(id, partitions)) + ".*.*." + Token(id)
}

func filter(prefix string, partition int, stack, app string) string {
	p, s, a := "*", "*", "*"
	if partition >= 0 {
		p = strconv.Itoa(partition)
	}
	if stack != "" {
		s = Token(stack)
	}
	if app != "" {
		a = Token(app)
	}
	return prefix + "." + p + "." + s + "." + a + ".*"
}
