// Package receivers holds the destinations that drains, limits and peers send to.
//
// A [Receiver] only counts, so that the sender is measured. A [Witness] checks each record: that it
// arrives once, in order, and how long after it was shown. A [Node] is a real Elasticsearch node.
package receivers
