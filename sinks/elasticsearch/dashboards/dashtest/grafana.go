package dashtest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

type grafanaSource struct{ Type, UID string }

type grafanaPanel struct {
	ID                       int
	Type, Title, Description string
	Datasource               grafanaSource
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig              struct {
		Defaults struct {
			Unit   string
			Custom *struct {
				DrawStyle              string
				FillOpacity, LineWidth int
				Stacking               struct{ Mode, Group string }
			}
		}
		Overrides []struct {
			Matcher    struct{ ID, Options string }
			Properties []struct{ ID, Value string }
		}
	}
	Options         json.RawMessage // what each kind of panel has; see grafanaOptions
	Targets         []grafanaTarget
	Transformations []struct {
		ID      string
		Options struct{ Include struct{ Names []string } }
	}
}

type grafanaTarget struct {
	RefID, Query, TimeField, Alias string
	Datasource                     grafanaSource
	Metrics                        []struct {
		ID, Type, Field string
		Settings        struct{ Size string }
	}
	BucketAggs []struct {
		ID, Type, Field string
		Settings        struct {
			Interval, TrimEdges, Size, Order, OrderBy string
			MinDocCount                               string `json:"min_doc_count"`
		}
	}
}

type grafanaVariable struct {
	Type, Name, Label, Definition, Query, Regex, AllValue string
	Datasource                                            grafanaSource
	Refresh, Sort                                         int
	Multi, IncludeAll                                     bool
	Current                                               struct{ Text, Value []string }
	Options                                               []string
}

// grafanaOptions are the kinds of panels with the settings that each has.
var grafanaOptions = map[string]func() any{
	"stat": func() any {
		return new(struct {
			ReduceOptions struct {
				Calcs  []string
				Fields string
				Values bool
			}
			ColorMode, GraphMode, JustifyMode, Orientation, TextMode string
		})
	},
	"timeseries": func() any {
		return new(struct {
			Legend struct {
				DisplayMode, Placement string
				ShowLegend             bool
			}
			Tooltip struct{ Mode, Sort string }
		})
	},
	"table": func() any { return new(struct{ ShowHeader bool }) },
}

// Grafana reads a dashboard. values are the selections in its lists, by the name of the variable;
// "*" where there is none.
func Grafana(data []byte, shown Range, values map[string]string) ([]Panel, error) {
	var d struct {
		UID, Title, Description, Timezone, Refresh string
		Tags                                       []string
		SchemaVersion, Version, GraphTooltip       int
		Editable                                   bool
		Time                                       struct{ From, To string }
		Templating                                 struct{ List []grafanaVariable }
		Annotations                                struct{ List []struct{} }
		Links                                      []struct{}
		Panels                                     []grafanaPanel
	}
	if err := strict(data, &d); err != nil {
		return nil, fmt.Errorf("read the dashboard: %w", err)
	}
	var panels []Panel
	var replace []string
	source := grafanaSource{Type: "elasticsearch"}
	for _, v := range d.Templating.List {
		if v.Type == "datasource" {
			source.UID = "${" + v.Name + "}"
			continue
		}
		var query struct{ Find, Field, Query string }
		if err := strict([]byte(v.Query), &query); err != nil || v.Type != "query" || query.Find != "terms" || v.Definition != v.Query || v.AllValue != "*" || v.Datasource != source {
			return nil, fmt.Errorf("the variable %s is not understood: %+v, %v", v.Name, v, err)
		}
		value := values[v.Name]
		if value == "" {
			value = v.AllValue
		}
		replace = append(replace, "$"+v.Name, value)
		panels = append(panels, Panel{
			Title: "choose " + v.Label, Fields: append(fieldsOf(query.Query), query.Field), buckets: []bucket{{name: "1"}}, metrics: []string{},
			Body: map[string]any{"size": 0,
				"query": map[string]any{"bool": map[string]any{"filter": []any{shown.inRange(), lucene(query.Query)}}},
				"aggs":  map[string]any{"1": map[string]any{"terms": map[string]any{"field": query.Field, "size": 500, "order": map[string]string{"_key": "asc"}}}}},
		})
	}
	replacer := strings.NewReplacer(replace...)
	g := grid{width: 24}
	ids := make(map[int]bool)
	for _, p := range d.Panels {
		if err := g.place(p.Title, p.GridPos.X, p.GridPos.Y, p.GridPos.W, p.GridPos.H); err != nil {
			return nil, err
		}
		options := grafanaOptions[p.Type]
		if options == nil || ids[p.ID] || len(p.Targets) != 1 || p.Datasource != source || p.Targets[0].Datasource != source {
			return nil, fmt.Errorf("panel %s: its type %s, ID %d, number of queries %d or data source is wrong", p.Title, p.Type, p.ID, len(p.Targets))
		}
		ids[p.ID] = true
		if err := strict(p.Options, options()); err != nil {
			return nil, fmt.Errorf("panel %s: %w", p.Title, err)
		}
		target := p.Targets[0]
		target.Query = replacer.Replace(target.Query)
		panel, err := p.panel(&target, shown)
		if err != nil {
			return nil, fmt.Errorf("panel %s: %w", p.Title, err)
		}
		panels = append(panels, *panel)
	}
	return panels, nil
}

// panel makes the request as Grafana's backend does.
func (p *grafanaPanel) panel(target *grafanaTarget, shown Range) (*Panel, error) {
	if target.TimeField != timeField || strings.Contains(target.Query, "$") || len(target.Metrics) == 0 {
		return nil, fmt.Errorf("its time field is %q, its query %q", target.TimeField, target.Query)
	}
	panel := &Panel{Title: p.Title, Fields: append(fieldsOf(target.Query), timeField)}
	panel.Body = map[string]any{"size": 0, "query": map[string]any{"bool": map[string]any{"filter": []any{shown.inRange(), lucene(target.Query)}}}}
	if first := target.Metrics[0]; first.Type == "raw_data" {
		size, err := strconv.Atoi(first.Settings.Size)
		if err != nil || len(p.Transformations) != 1 || p.Transformations[0].ID != "filterFieldsByName" || len(target.BucketAggs) > 0 {
			return nil, fmt.Errorf("a list of records that is not understood: %+v, %v", p, err)
		}
		names := p.Transformations[0].Options.Include.Names
		if names[0] != timeField {
			return nil, fmt.Errorf("a list of records without their time: %q", names)
		}
		panel.list(names[1:], size)
		return panel, nil
	}
	// The metrics are in the innermost buckets; those to order by are in theirs, too.
	aggs := make(map[string]any)
	panel.Body["aggs"] = aggs
	metrics := make(map[string]any)
	for _, m := range target.Metrics {
		switch m.Type {
		case "count":
			panel.metrics = append(panel.metrics, "")
			continue
		case "sum", "cardinality":
		default:
			return nil, fmt.Errorf("the metric %s is not understood", m.Type)
		}
		metrics[m.ID] = map[string]any{m.Type: map[string]any{"field": m.Field}}
		panel.metrics = append(panel.metrics, m.ID)
		panel.Fields = append(panel.Fields, m.Field)
	}
	for _, b := range target.BucketAggs {
		panel.Fields = append(panel.Fields, b.Field)
		below := make(map[string]any)
		agg := map[string]any{"aggs": below}
		minimum, err := strconv.Atoi(b.Settings.MinDocCount)
		if err != nil {
			return nil, fmt.Errorf("min_doc_count is %q", b.Settings.MinDocCount)
		}
		switch b.Type {
		case "terms":
			size, err := strconv.Atoi(b.Settings.Size)
			if err != nil {
				return nil, fmt.Errorf("size is %q", b.Settings.Size)
			}
			if order := b.Settings.OrderBy; order != "_count" {
				if metrics[order] == nil {
					return nil, fmt.Errorf("it is ordered by %q", order)
				}
				below[order] = metrics[order]
			}
			agg["terms"] = map[string]any{"field": b.Field, "size": size, "min_doc_count": minimum, "order": map[string]string{b.Settings.OrderBy: b.Settings.Order}}
		case "date_histogram":
			if b.Settings.Interval != "auto" {
				return nil, fmt.Errorf("the interval is %q", b.Settings.Interval)
			}
			agg["date_histogram"] = map[string]any{"field": b.Field, "fixed_interval": interval, "min_doc_count": minimum, "format": "epoch_millis",
				"extended_bounds": map[string]int64{"min": shown.From.UnixMilli(), "max": shown.To.UnixMilli()}}
		default:
			return nil, fmt.Errorf("the buckets %s are not understood", b.Type)
		}
		aggs[b.ID] = agg
		aggs = below
		panel.buckets = append(panel.buckets, bucket{b.ID, b.Type == "date_histogram"})
	}
	for id, m := range metrics {
		aggs[id] = m
	}
	if p.Type == "stat" {
		// Of each time the number, to be added up, or the rows, to be counted: as many as there are
		// different values.
		var options struct{ ReduceOptions struct{ Calcs []string } }
		err := json.Unmarshal(p.Options, &options)
		calcs := options.ReduceOptions.Calcs
		over := len(target.BucketAggs) == 1 && target.BucketAggs[0].Type == "date_histogram"
		if err != nil || !slices.Equal(calcs, []string{"sum"}) && over || !slices.Equal(calcs, []string{"count"}) && !over {
			return nil, fmt.Errorf("one number is made by %q of its buckets, %v", calcs, err)
		}
		panel.counted = !over
	}
	return panel, nil
}

// list makes a panel of records of it.
func (p *Panel) list(columns []string, size int) {
	p.columns, p.Shown = columns, columns
	p.Body["size"] = size
	p.Body["sort"] = []any{map[string]any{timeField: map[string]string{"order": "desc", "unmapped_type": "boolean"}}, map[string]any{"_doc": map[string]string{"order": "desc"}}}
	p.Body["_source"] = false
	p.Body["fields"] = columns
}
