// SPDX-License-Identifier: Apache-2.0

package htmlreport

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/vmdebootstrap/vmdebootstrap/builder/inspect"
)

// block is a thing with a size and parts, to be drawn as a tile.
type block struct {
	name string // clean
	full string // for screen readers and tooltips
	size uint64
	// parts are sorted, the largest first.
	parts []*block
	rest  bool // stands for what is too small to be told apart
}

// treemap is one drawing with all levels that can be zoomed to. The last level is the whole, which is shown unless the
// page's address names another one.
type treemap struct {
	Label  string
	Height int // of each level, in pixels
	Levels []level
}

// level is a block that fills the drawing.
type level struct {
	ID     string
	Trail  []crumb // from the whole to this one
	Size   string
	Groups []tile
}

// crumb is a link to a level further up; the last one has no ID, as it is the present level.
type crumb struct{ ID, Name string }

// tile is a rectangle: X and W in percent of the width, Y and H in pixels. So a map of any width has letters of one
// size, in the height of their tiles.
type tile struct {
	X, W string
	Y, H int
	// Colour is the number of a colour of the page, from 1; 0 for the neutral one.
	Colour int
	// Link is the ID of the level that the tile is a part of; empty for none.
	Link  string
	Label string // for tooltips and screen readers: name, size, share
	// Name and Size are written in the tile: as much as fits on a wide page, and on a narrow one.
	Wide, Narrow caption
	// Parts are the tiles in it, below its name.
	Parts []tile
}

// caption is the text in a tile; empty for none.
type caption struct{ Name, Size string }

// The geometry of maps. A wide page is as wide as the style allows, and a narrow one is a telephone.
const (
	mapWidth     = 1000 // units of the layout, of which W and X are percentages
	mapHeight    = 460
	wideScale    = 1.04 // pixels for a unit
	narrowScale  = 0.34
	letterWidth  = 6.9 // pixels, of the mean letter of 12 pixels
	letterHeight = 15
	tileMargin   = 6
	headHeight   = 21 // of the name above the parts
	groupGap     = 2  // around the parts
	maxLevels    = 48
	maxTiles     = 28 // of a level; smaller ones are drawn as one
	maxParts     = 16 // of a tile
)

// rectangle is a place in the layout.
type rectangle struct{ x, y, w, h float64 }

// squarify divides a rectangle in the proportion of sizes, which must be sorted, the largest first, so that the parts
// are as close to squares as the order allows (Bruls, Huizing, van Wijk: Squarified Treemaps, 2000).
func squarify(sizes []uint64, in rectangle) []rectangle {
	var total float64
	for _, s := range sizes {
		total += float64(s)
	}
	placed := make([]rectangle, 0, len(sizes))
	if total == 0 {
		return append(placed, make([]rectangle, len(sizes))...)
	}
	scale := in.w * in.h / total
	for rest := sizes; len(rest) > 0; {
		side := min(in.w, in.h)
		count, row := 1, float64(rest[0])*scale
		for count < len(rest) {
			next := float64(rest[count]) * scale
			if worst(rest[0], rest[count], row+next, side, scale) > worst(rest[0], rest[count-1], row, side, scale) {
				break
			}
			row += next
			count++
		}
		depth := 0.0
		if side > 0 {
			depth = row / side
		}
		along := 0.0
		for _, s := range rest[:count] {
			length := 0.0
			if depth > 0 {
				length = float64(s) * scale / depth
			}
			if in.w >= in.h {
				placed = append(placed, rectangle{in.x, in.y + along, depth, length})
			} else {
				placed = append(placed, rectangle{in.x + along, in.y, length, depth})
			}
			along += length
		}
		if in.w >= in.h {
			in.x, in.w = in.x+depth, max(0, in.w-depth)
		} else {
			in.y, in.h = in.y+depth, max(0, in.h-depth)
		}
		rest = rest[count:]
	}
	return placed
}

// worst returns the worst ratio of sides in a row of the given area along a side.
func worst(largest, smallest uint64, area, side, scale float64) float64 {
	if area == 0 || smallest == 0 {
		return math.Inf(1)
	}
	s, a := side*side, area*area
	return max(s*float64(largest)*scale/a, a/(s*float64(smallest)*scale))
}

// mapper draws the levels of one map.
type mapper struct {
	prefix string // of IDs
	levels []level
	ids    map[*block]string
	total  uint64
}

// newTreemap draws a block and all blocks in it that are worth a level of their own. prefix distinguishes the IDs of
// two maps. It returns nil for a block without parts.
func newTreemap(prefix, label string, whole *block) *treemap {
	if len(whole.parts) == 0 || whole.size == 0 {
		return nil
	}
	m := mapper{prefix: prefix, ids: map[*block]string{}, total: whole.size}
	m.choose(whole)
	m.level(whole, nil)
	// The whole comes last, so that the style can hide it by an earlier sibling that is the target.
	return &treemap{Label: label, Height: mapHeight, Levels: append(m.levels[1:], m.levels[0])}
}

// choose gives IDs to the whole and to the largest blocks with at least two parts.
func (m *mapper) choose(whole *block) {
	var all []*block
	var walk func(b *block)
	walk = func(b *block) {
		if len(b.parts) > 1 && b != whole {
			all = append(all, b)
		}
		for _, part := range b.parts {
			walk(part)
		}
	}
	walk(whole)
	sortBySize(all)
	m.ids[whole] = m.prefix
	for i, b := range all[:min(len(all), maxLevels)] {
		m.ids[b] = fmt.Sprintf("%s-%d", m.prefix, i+1)
	}
}

// level draws a block, and the blocks below it that have IDs. trail are the crumbs above it.
func (m *mapper) level(b *block, trail []crumb) {
	if id, ok := m.ids[b]; ok {
		here := append(slices.Clone(trail), crumb{Name: b.name})
		m.levels = append(m.levels, level{ID: id, Trail: here, Size: formatSize(b.size),
			Groups: m.tiles(b, rectangle{0, 0, mapWidth, mapHeight}, maxTiles, 0)})
		trail = append(slices.Clone(trail), crumb{id, b.name})
	}
	for _, part := range b.parts {
		m.level(part, trail)
	}
}

// tiles draws the parts of a block. colour is that of all parts; 0 gives each its own, and draws their parts in them.
func (m *mapper) tiles(b *block, in rectangle, most, colour int) []tile {
	parts := merged(b.parts, most)
	nested := colour == 0
	if nested {
		parts = merged(divided(b), most)
	}
	sizes := make([]uint64, len(parts))
	for i, p := range parts {
		sizes[i] = p.size
	}
	var tiles []tile
	for i, r := range squarify(sizes, in) {
		p := parts[i]
		// Edges are rounded, not sizes, so that neighbours meet.
		y, bottom := int(math.Round(r.y)), int(math.Round(r.y+r.h))
		t := tile{X: percent(r.x / mapWidth), W: percent(r.w / mapWidth), Y: y, H: bottom - y, Colour: colour,
			Link:  m.ids[p],
			Label: fmt.Sprintf("%s: %s, %s", p.full, formatSize(p.size), formatShare(p.size, m.total))}
		switch {
		case p.rest:
			t.Colour = 0
		case nested:
			t.Colour = i%colours + 1
		}
		t.Wide, t.Narrow = fit(p, b, r, wideScale), fit(p, b, r, narrowScale)
		inside := rectangle{r.x + groupGap, float64(y + headHeight), r.w - 2*groupGap,
			float64(bottom - y - headHeight - groupGap)}
		if nested && !p.rest && len(p.parts) > 1 && inside.h > 2*letterHeight && inside.w > 3*letterHeight {
			t.Wide.Size, t.Narrow.Size = "", "" // the name has one line
			t.Parts = m.tiles(p, inside, maxParts, t.Colour)
		}
		tiles = append(tiles, t)
	}
	return tiles
}

// divided returns the parts of a block. As long as one of them is more than half of all, it is replaced by its parts:
// /usr alone would fill the map.
func divided(b *block) []*block {
	parts := b.parts
	for len(parts) > 0 && parts[0].size > b.size/2 && len(parts[0].parts) > 1 {
		parts = append(slices.Clone(parts[0].parts), parts[1:]...)
		sortBySize(parts)
	}
	return parts
}

func sortBySize(blocks []*block) {
	slices.SortStableFunc(blocks, func(a, b *block) int { return cmp.Compare(b.size, a.size) })
}

// merged returns at most so many blocks, one of which stands for all smaller ones.
func merged(parts []*block, most int) []*block {
	if len(parts) <= most {
		return parts
	}
	others := &block{rest: true}
	for _, p := range parts[most-1:] {
		others.size += p.size
	}
	others.name = fmt.Sprintf("%d others", len(parts)-most+1)
	others.full = others.name
	kept := append(slices.Clone(parts[:most-1]), others)
	sortBySize(kept)
	return kept
}

// fit returns as much of the name of a block, which is in another one, and of its size as a place has room for.
func fit(b, in *block, place rectangle, scale float64) (c caption) {
	letters := int((place.w*scale - 2*tileMargin) / letterWidth)
	if place.h < letterHeight+tileMargin/2 {
		return c
	}
	c.Name = b.name
	if path, ok := strings.CutPrefix(b.full, strings.TrimSuffix(in.full, "/")+"/"); ok {
		c.Name = path // of one that divided has brought up
	}
	if utf8.RuneCountInString(c.Name) > letters {
		c.Name = b.name
	}
	if utf8.RuneCountInString(c.Name) > letters {
		const fewest = 4 // "ini…" says something, "in…" does not
		if letters < fewest {
			return caption{}
		}
		c.Name = string([]rune(c.Name)[:letters-1]) + "…"
	}
	if size := formatSize(b.size); place.h >= 2*letterHeight+tileMargin && utf8.RuneCountInString(size) <= letters {
		c.Size = size
	}
	return c
}

// colours is how many colours blocks have, besides the neutral one.
const colours = 8

// directoryBlocks returns directories as blocks.
func directoryBlocks(root Directory) *block {
	var convert func(d Directory, full string) *block
	convert = func(d Directory, full string) *block {
		name := d.Name
		// A directory with nothing but another one in it is drawn as one, with both names.
		for full != "/" && len(d.Children) == 1 && d.Children[0].Size == d.Size {
			d = d.Children[0]
			name, full = name+"/"+d.Name, full+"/"+d.Name
		}
		b := &block{name: clean(name), full: clean(full), size: d.Size}
		rest := d.Size
		for _, child := range d.Children {
			b.parts = append(b.parts, convert(child, strings.TrimSuffix(full, "/")+"/"+child.Name))
			rest -= min(rest, child.Size)
		}
		if len(b.parts) > 0 && rest > 0 {
			b.parts = append(b.parts, &block{name: "smaller files", full: "smaller files of " + b.full, size: rest, rest: true})
		}
		sortBySize(b.parts)
		return b
	}
	return convert(root, "/")
}

// packageBlocks returns packages as blocks, by the sections of the archive.
func packageBlocks(packages []inspect.Package) *block {
	whole := &block{name: "all packages", full: "all packages"}
	sections := map[string]*block{}
	for _, p := range packages {
		if p.Size == 0 {
			continue
		}
		name := clean(cmp.Or(p.Section, "no section"))
		section := sections[name]
		if section == nil {
			section = &block{name: name, full: "section " + name}
			sections[name] = section
			whole.parts = append(whole.parts, section)
		}
		section.parts = append(section.parts, &block{name: clean(p.Name), full: clean(p.Name), size: p.Size})
		section.size += p.Size
		whole.size += p.Size
	}
	for _, section := range whole.parts {
		sortBySize(section.parts)
	}
	sortBySize(whole.parts)
	return whole
}
