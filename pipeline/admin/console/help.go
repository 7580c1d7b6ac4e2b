package console

import (
	"bytes"
	"html/template"
	"log/slog"
	"net/http"
)

// Help is the documentation that the console shows below /console/help/.
type Help struct {
	// Pages are all pages, in the order of lists. Those of a group follow each other.
	Pages []HelpPage
	// Render returns the text of a page as HTML without scripts, styles and images.
	Render func(topic string) (string, error)
	// Search returns the sections that have all words of a query, the best first.
	Search func(query string) []HelpHit
}

// HelpPage is an entry of a list of pages.
type HelpPage struct {
	Topic, Group, Title, Summary string
	// Sections are the headings of the second level.
	Sections []HelpSection
}

// HelpSection is a heading of a page.
type HelpSection struct {
	Anchor, Title string
}

// HelpHit is a section that a search found.
type HelpHit struct {
	Topic, Anchor, Page, Section, Excerpt string
}

// helpBase is the path of the pages.
const helpBase = "/console/help/"

// maxQuery bounds the length of a search.
const maxQuery = 200

// helpView is the data of the help's pages.
type helpView struct {
	Help  *Help
	Page  *HelpPage     // nil for the list of pages and for a search
	Body  template.HTML // of the page
	Query string
	Hits  []HelpHit
	Title string
}

// help shows the list of pages, a page, or the result of a search. The documentation is the same
// for all users and contains nothing confidential, so it needs no login.
func (c *Console) help(w http.ResponseWriter, r *http.Request) {
	help := c.o.Help()
	view := helpView{Help: help, Title: "Help", Query: r.URL.Query().Get("q")}
	if runes := []rune(view.Query); len(runes) > maxQuery {
		view.Query = string(runes[:maxQuery])
	}
	topic := r.PathValue("topic")
	switch {
	case topic != "":
		for i := range help.Pages {
			if help.Pages[i].Topic == topic {
				view.Page = &help.Pages[i]
			}
		}
		if view.Page == nil {
			http.NotFound(w, r)
			return
		}
		body, err := help.Render(topic)
		if err != nil {
			c.refuse(w, err)
			return
		}
		view.Title = view.Page.Title
		view.Body = template.HTML(body) // it is part of the program
	case view.Query != "":
		view.Title = "Search: " + view.Query
		view.Hits = help.Search(view.Query)
	}
	var page bytes.Buffer
	if err := c.pages.help.Execute(&page, view); err != nil {
		c.o.Log.LogAttrs(r.Context(), slog.LevelError, "the help cannot be shown", slog.Any("error", err))
		c.refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(page.Bytes())
}

// helpFunctions are the functions of the template.
var helpFunctions = template.FuncMap{"groups": helpGroups, "neighbours": helpNeighbours}

// helpGroups divides pages where the group changes.
func helpGroups(pages []HelpPage) (groups [][]HelpPage) {
	for i, p := range pages {
		if i == 0 || pages[i-1].Group != p.Group {
			groups = append(groups, nil)
		}
		last := len(groups) - 1
		groups[last] = append(groups[last], p)
	}
	return groups
}

// neighbours are the pages before and after one; nil at the ends.
type neighbours struct {
	Before, After *HelpPage
}

func helpNeighbours(h *Help, page *HelpPage) (n neighbours) {
	for i := range h.Pages {
		if h.Pages[i].Topic != page.Topic {
			continue
		}
		if i > 0 {
			n.Before = &h.Pages[i-1]
		}
		if i+1 < len(h.Pages) {
			n.After = &h.Pages[i+1]
		}
	}
	return n
}
