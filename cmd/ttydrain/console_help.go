package main

import (
	"fmt"
	"sync"

	"github.com/ttydrain/ttydrain/cmd/ttydrain/docs"
	"github.com/ttydrain/ttydrain/pipeline/admin/console"
)

// consoleHelp returns the pages of the documentation for the console.
func consoleHelp() *console.Help {
	const base = "/console/help/"
	h := &console.Help{}
	byTopic := make(map[string]docs.Page)
	for _, p := range docs.Pages() {
		byTopic[p.Topic] = p
		page := console.HelpPage{Topic: p.Topic, Group: p.Group, Summary: p.Summary}
		for _, s := range docs.Sections(p.Markdown()) {
			switch s.Level {
			case 1:
				page.Title = s.Title
			case 2:
				page.Sections = append(page.Sections, console.HelpSection{Anchor: s.Anchor, Title: s.Title})
			}
		}
		h.Pages = append(h.Pages, page)
	}
	h.Render = func(topic string) (string, error) {
		p, known := byTopic[topic]
		if !known {
			return "", fmt.Errorf("there is no page %q", topic)
		}
		return docs.HTML(p.Markdown(), base)
	}
	index := sync.OnceValue(docs.NewIndex)
	h.Search = func(query string) (hits []console.HelpHit) {
		for _, hit := range index().Search(query) {
			hits = append(hits, console.HelpHit{Topic: hit.Page.Topic, Anchor: hit.Section.Anchor,
				Page: hit.PageTitle, Section: hit.Section.Title, Excerpt: hit.Excerpt})
		}
		return hits
	}
	return h
}
