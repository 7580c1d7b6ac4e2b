// Package dashtest reads the dashboards for tests: it makes of each panel the request that Kibana
// or Grafana sends to Elasticsearch for it, and of the response the rows that the panel shows.
//
// Neither program is part of it. What they make of a panel is written down here, as far as the
// dashboards use it: of Kibana's Lens (formBased layers, saved searches, options lists, queries in
// the language of Lucene), and of Grafana's Elasticsearch data source (package elasticsearch of its
// backend). Whatever else is in a dashboard is an error, and so is a misspelt or unknown setting.
package dashtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Range is the time that a dashboard shows.
type Range struct{ From, To time.Time }

// A Panel is one of a dashboard, or one of the lists to choose from above its panels.
type Panel struct {
	Title string
	// Index is the index that the dashboard queries; "" if that is the data source's setting.
	Index string
	// Body is the search request.
	Body map[string]any
	// Fields are those that it looks at as a whole, by their values: to group, add, sort or choose
	// by them.
	Fields []string
	// Shown are those that it only looks for words in, or shows.
	Shown []string

	buckets []bucket
	metrics []string // names of aggregations; "" for the number of records
	columns []string // of records, instead of buckets
	counted bool     // it shows how many rows there are
}

// A bucket is one level of them; those of time are added up in rows.
type bucket struct {
	name string
	time bool
}

const (
	timeField = "@timestamp"
	// total is the number of records in a bucket.
	total = "doc_count"
	// interval is the value of "auto" for the times of the tests.
	interval = "30s"
)

// Rows are the rows of a panel, in any order: keys and numbers, or the columns of records, with " |
// " between. Numbers over time are added up.
func (p *Panel) Rows(answer []byte) ([]string, error) {
	var got struct {
		TimedOut bool                 `json:"timed_out"`
		Shards   struct{ Failed int } `json:"_shards"`
		Hits     struct {
			Total struct{ Value json.RawMessage }
			Hits  []struct{ Fields map[string][]any }
		}
		Aggregations map[string]json.RawMessage
	}
	decoder := json.NewDecoder(bytes.NewReader(answer))
	decoder.UseNumber()
	if err := decoder.Decode(&got); err != nil {
		return nil, fmt.Errorf("panel %s: %w", p.Title, err)
	}
	if got.TimedOut || got.Shards.Failed > 0 {
		return nil, fmt.Errorf("panel %s: %d shards failed, timed out: %t", p.Title, got.Shards.Failed, got.TimedOut)
	}
	rows := []string{}
	if p.columns != nil {
		for _, hit := range got.Hits.Hits {
			row := make([]string, len(p.columns))
			for i, column := range p.columns {
				row[i] = "-"
				if values := hit.Fields[column]; len(values) > 0 {
					row[i] = fmt.Sprint(values[0])
				}
			}
			rows = append(rows, strings.Join(row, " | "))
		}
		return rows, nil
	}
	sums := make(map[string][]float64)
	if got.Aggregations == nil {
		got.Aggregations = make(map[string]json.RawMessage)
	}
	got.Aggregations[total] = got.Hits.Total.Value
	if err := p.walk(got.Aggregations, 0, nil, sums); err != nil {
		return nil, fmt.Errorf("panel %s: %w", p.Title, err)
	}
	if p.counted {
		return []string{strconv.Itoa(len(sums))}, nil
	}
	for key, numbers := range sums {
		row := []string{}
		if key != "" {
			row = append(row, key)
		}
		for _, n := range numbers {
			row = append(row, strconv.FormatFloat(n, 'f', -1, 64))
		}
		rows = append(rows, strings.Join(row, " | "))
	}
	slices.Sort(rows)
	return rows, nil
}

// walk adds the values in an aggregation's buckets, or beside them, to the sums by key.
func (p *Panel) walk(at map[string]json.RawMessage, level int, key []string, sums map[string][]float64) error {
	if level < len(p.buckets) {
		var found struct {
			Buckets []map[string]json.RawMessage
			Others  int `json:"sum_other_doc_count"`
		}
		if err := json.Unmarshal(at[p.buckets[level].name], &found); err != nil {
			return err
		}
		if found.Others > 0 {
			return fmt.Errorf("%d records are in no bucket", found.Others)
		}
		for _, b := range found.Buckets {
			below := key
			if !p.buckets[level].time {
				below = append(slices.Clone(key), strings.Trim(string(b["key"]), `"`))
			}
			if err := p.walk(b, level+1, below, sums); err != nil {
				return err
			}
		}
		return nil
	}
	name := strings.Join(key, " | ")
	if sums[name] == nil {
		sums[name] = make([]float64, len(p.metrics))
	}
	for i, metric := range p.metrics {
		raw := at[total]
		if metric != "" {
			var value struct{ Value json.RawMessage }
			if err := json.Unmarshal(at[metric], &value); err != nil {
				return err
			}
			raw = value.Value
		}
		n, err := strconv.ParseFloat(string(raw), 64)
		if err != nil {
			return fmt.Errorf("the metric %q is %s", metric, raw)
		}
		sums[name][i] += n
	}
	return nil
}

// strict decodes JSON of which every field is known.
func strict(data []byte, to any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	return decoder.Decode(to)
}

// inRange is the filter of the time that is shown.
func (r Range) inRange() any {
	return map[string]any{"range": map[string]any{timeField: map[string]any{
		"gte": r.From.UTC().Format(time.RFC3339Nano), "lte": r.To.UTC().Format(time.RFC3339Nano), "format": "strict_date_optional_time",
	}}}
}

// lucene is the filter of a query in the language of Lucene.
func lucene(query string) any {
	return map[string]any{"query_string": map[string]any{"query": query, "analyze_wildcard": true}}
}

// fieldsOf are the fields that a query in the language of Lucene names.
func fieldsOf(query string) (fields []string) {
	inQuotes := false
	start := 0
	for i := range len(query) {
		switch c := query[i]; {
		case c == '"':
			inQuotes = !inQuotes
		case c == ':' && !inQuotes:
			fields = append(fields, query[start:i])
		case c == ' ' || c == '(' || c == ')':
			start = i + 1
		}
	}
	return fields
}

// A grid finds panels that overlap or stand out.
type grid struct {
	width int
	taken map[[2]int]string
}

func (g *grid) place(title string, x, y, w, h int) error {
	if x < 0 || y < 0 || w < 1 || h < 1 || x+w > g.width {
		return fmt.Errorf("panel %s stands out of the grid", title)
	}
	if g.taken == nil {
		g.taken = make(map[[2]int]string)
	}
	for i := x; i < x+w; i++ {
		for j := y; j < y+h; j++ {
			if other, ok := g.taken[[2]int{i, j}]; ok {
				return fmt.Errorf("panels %s and %s overlap", other, title)
			}
			g.taken[[2]int{i, j}] = title
		}
	}
	return nil
}
