// SPDX-License-Identifier: Apache-2.0

package htmlreport

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/difference"
	"github.com/vmdebootstrap/vmdebootstrap/builder/inspect"
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
)

//go:embed page.css
var style string

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"clean": clean, "text": cleanText, "seconds": formatSeconds, "list": newFileList,
	"size": func(bytes any) (string, error) {
		switch n := bytes.(type) {
		case uint64:
			return formatSize(n), nil
		case int64:
			return formatSize(uint64(max(0, n))), nil
		}
		return "", fmt.Errorf("BUG: size of a %T", bytes)
	},
}).Parse(pageText))

// page is what the template shows: a Report with its drawings.
type page struct {
	Report
	Style       template.CSS
	Title       string
	Figures     []figure
	Disks       []diskDrawing
	Facts       []fact
	Packages    *treemap
	Directories *treemap
	// Tree are the directories of the table below the map.
	Tree     []directoryRow
	Timeline *timeline
	Change   *changeView
	// Data is the Report again, if the page holds it.
	Data *Report
}

// figure is one of the numbers at the top.
type figure struct{ Name, Value, Note string }

// fact is a line about the system.
type fact struct {
	Name   string
	Values []string
}

// Write writes the page.
func (r Report) Write(w io.Writer) error {
	r.Schema = Schema
	p := page{Report: r, Style: template.CSS(style), Title: path.Base(clean(r.Image.Source)), Facts: facts(r.Image.System),
		Timeline: newTimeline(r.Build, r.Change), Change: newChangeView(r)}
	if r.embedded() {
		p.Data = &r
	}
	if r.Change != nil && r.Build == nil {
		p.Disks = newDiskDrawings(r.Change.From, r.Image)
	} else {
		p.Disks = newDiskDrawings(r.Image)
	}
	if s := r.Image.System; s != nil {
		p.Packages = newTreemap("package", "Packages by installed size", packageBlocks(s.Packages))
	}
	if r.Directories != nil {
		p.Directories = newTreemap("directory", "Directories by size", directoryBlocks(*r.Directories))
		p.Tree = directoryRows(*r.Directories)
	}
	p.Figures = figures(r)
	if err := pageTemplate.Execute(w, p); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}

// figures returns the numbers that people look for first.
func figures(r Report) []figure {
	var all []figure
	add := func(name, value, note string) { all = append(all, figure{name, value, note}) }
	if d := r.Image.Disk; d != nil {
		add("Disk", formatSize(d.Size), clean(strings.Join(nonEmpty(d.Format, cmp.Or(d.Table, "no table")), ", ")))
		var used, free uint64
		for _, f := range filesystems(d) {
			used, free = used+f.Size-min(f.Free, f.Size), free+f.Free
		}
		if used > 0 {
			add("Used", formatSize(used), formatSize(free)+" free")
		}
	}
	if s := r.Image.System; s != nil {
		note := formatSize(s.InstalledSize())
		if c := r.Change; c != nil && c.From.System != nil {
			note += fmt.Sprintf(", %+d", len(s.Packages)-len(c.From.System.Packages))
		}
		add("Packages", formatCount(len(s.Packages)), note)
		note = ""
		if r.Directories != nil {
			note = formatSize(r.Directories.Size)
		}
		add("Files", formatCount(s.Files), note)
	}
	if b := r.Build; b != nil {
		wall, cpu := b.times()
		add("Build", formatSeconds(wall), formatSeconds(cpu)+" CPU")
		add("From the cache", fmt.Sprintf("%d of %d", b.Usage.Cached, b.Usage.Cached+b.Usage.Steps), "steps")
	}
	for _, boot := range r.Boots {
		value, note := "booted", fmt.Sprintf("%s, %s", boot.Firmware, formatSeconds(boot.Seconds))
		if !boot.Booted {
			value = "no boot"
		} else if n := boot.Failed(); n > 0 {
			value = fmt.Sprintf("%d failed", n)
		}
		add("Boot test", value, clean(note))
	}
	return all
}

// Failed returns the number of failed checks.
func (b Boot) Failed() (n int) {
	for _, c := range b.Checks {
		if !c.OK {
			n++
		}
	}
	return n
}

// times returns wall and processor time of a build, in seconds.
func (b Build) times() (wall, cpu float64) {
	for _, s := range b.Steps {
		wall = max(wall, s.Start+s.Seconds)
		cpu += s.CPUSeconds
	}
	return wall, cpu
}

// filesystems returns those of a disk that were read.
func filesystems(d *inspect.Disk) (all []inspect.Filesystem) {
	if d.Filesystem != nil {
		all = append(all, *d.Filesystem)
	}
	for _, p := range d.Partitions {
		if p.Filesystem != nil {
			all = append(all, *p.Filesystem)
		}
	}
	return all
}

// facts returns what is known about a system, besides sizes.
func facts(s *inspect.System) []fact {
	if s == nil {
		return nil
	}
	all := []fact{
		{"Release", nonEmpty(clean(s.Release.Name), clean(s.Architecture))}, {"Host name", nonEmpty(clean(s.Hostname))},
		{"Kernels", texts(s.Kernels)}, {"Boot loaders", texts(s.Loaders)}, {"Can log in", texts(s.Users)},
	}
	services := fact{Name: "Services"}
	for _, name := range s.Services {
		services.Values = append(services.Values, clean(name))
	}
	return slices.DeleteFunc(append(all, services), func(f fact) bool { return len(f.Values) == 0 })
}

// texts describes values.
func texts[T fmt.Stringer](values []T) (all []string) {
	for _, v := range values {
		all = append(all, clean(v.String()))
	}
	return all
}

// directoryRow is a line of the table of directories.
type directoryRow struct {
	Name        string
	Depth       int
	Size, Share string
	Files       string
}

// directoryRows returns the directories of the table: those of the upper levels, in the order of a tree.
func directoryRows(root Directory) []directoryRow {
	const deepest = 3
	var rows []directoryRow
	var walk func(d Directory, full string, depth int)
	walk = func(d Directory, full string, depth int) {
		rows = append(rows, directoryRow{clean(full), depth, formatSize(d.Size), formatShare(d.Size, root.Size),
			formatCount(d.Files)})
		for _, child := range d.Children {
			if depth < deepest {
				walk(child, strings.TrimSuffix(full, "/")+"/"+child.Name, depth+1)
			}
		}
	}
	walk(root, "/", 0)
	return rows
}

// diskDrawing is a disk, drawn to scale.
type diskDrawing struct {
	Name     string
	Width    string // in percent: disks of one page have one scale
	Label    string
	Segments []segment
	Rows     []partitionRow
}

// segment is a part of the disk. Positions are percentages of it.
type segment struct {
	X, W   string
	Used   string // percentage of the segment that is used; empty if it is unknown
	Colour int    // -1 for what is in no partition
	Label  string
	Wide   caption
	Narrow caption
}

// partitionRow is a line of the table of a disk.
type partitionRow struct {
	Number, Type, Start, Size, Filesystem, Used, Free, Mount, Label, ID, Note string
	Colour                                                                    int
}

// partitionColours are those of the types of partitions; others have that of their number.
var partitionColours = map[string]int{"root": 1, "linux": 1, "esp": 3, "boot": 4, "bios-boot": 5, "swap": 0}

// leastShare is the width of what is drawn although it is smaller, as a share of the whole: one or two pixels.
const leastShare = 0.002

// newDiskDrawings draws the disks of images, all to one scale.
func newDiskDrawings(images ...inspect.Report) []diskDrawing {
	var largest uint64
	for _, image := range images {
		if image.Disk != nil {
			largest = max(largest, image.Disk.Size)
		}
	}
	var all []diskDrawing
	for _, image := range images {
		if image.Disk != nil && image.Disk.Size > 0 {
			drawing := newDiskDrawing(image.Disk, float64(image.Disk.Size)/float64(largest))
			drawing.Name = clean(image.Source)
			all = append(all, drawing)
		}
	}
	return all
}

func newDiskDrawing(d *inspect.Disk, scale float64) diskDrawing {
	partitions := slices.Clone(d.Partitions)
	slices.SortStableFunc(partitions, func(a, b inspect.Partition) int { return cmp.Compare(a.Start, b.Start) })
	if d.Filesystem != nil {
		partitions = append(partitions, inspect.Partition{Size: d.Size, Filesystem: d.Filesystem})
	}
	drawing := diskDrawing{Width: percent(scale),
		Label: fmt.Sprintf("disk of %s with %d partitions", formatSize(d.Size), len(d.Partitions))}
	gap := func(from, to uint64) {
		const interesting = 2 << 20 // table and alignment take up to 1 MiB at both ends
		to = min(to, d.Size)
		if from >= to || to-from < interesting {
			return
		}
		size := to - from
		drawing.add(d, scale, segment{Colour: -1}, block{name: "not used", size: size}, from)
		drawing.Rows = append(drawing.Rows, partitionRow{Type: "in no partition", Start: formatSize(from),
			Size: formatSize(size), Colour: -1})
	}
	var end uint64
	for _, p := range partitions {
		gap(end, p.Start)
		end = max(end, p.Start+p.Size)
		colour, known := partitionColours[p.Type]
		if !known {
			colour = max(0, p.Number)%colours + 1
		}
		row := partitionRow{Type: clean(p.Type), Start: formatSize(p.Start), Size: formatSize(p.Size), Label: clean(p.Label),
			ID: clean(p.ID), Colour: colour}
		name := cmp.Or(clean(p.Type), "file system")
		s := segment{Colour: colour}
		if p.Number > 0 {
			row.Number = fmt.Sprint(p.Number)
		}
		if f := p.Filesystem; f != nil {
			row.Filesystem, row.Mount, row.Note = clean(f.Type), clean(f.MountPoint), clean(f.Error)
			row.Label = cmp.Or(clean(f.Label), row.Label)
			name = strings.Join(nonEmpty(clean(f.MountPoint), clean(f.Type)), " ")
			if f.Size > 0 && p.Size > 0 {
				used := f.Size - min(f.Free, f.Size)
				row.Used, row.Free = formatSize(used), formatSize(f.Free)
				s.Used = percent(min(1, float64(used)/float64(p.Size)))
			}
		}
		drawing.add(d, scale, s, block{name: name, size: p.Size}, p.Start)
		drawing.Rows = append(drawing.Rows, row)
	}
	if len(partitions) > 0 {
		gap(end, d.Size)
	}
	return drawing
}

// add draws a part of the disk.
func (drawing *diskDrawing) add(d *inspect.Disk, scale float64, s segment, b block, start uint64) {
	x := min(1, float64(start)/float64(d.Size))
	w := max(leastShare, min(1-x, float64(b.size)/float64(d.Size)))
	s.X, s.W = percent(x), percent(w)
	place := rectangle{w: w * scale * mapWidth, h: mapHeight}
	s.Wide, s.Narrow = fit(&b, &block{}, place, wideScale), fit(&b, &block{}, place, narrowScale)
	s.Label = b.name + ": " + formatSize(b.size)
	drawing.Segments = append(drawing.Segments, s)
}

// timeline is the steps of a build on an axis of time.
type timeline struct {
	Began string // for people
	RFC   string // for programs
	Ticks []tick
	Rows  []stepRow
	Total stepRow
	// Earlier says that there are times of an earlier build.
	Earlier bool
}

// tick is a mark on the axis, at a percentage of it.
type tick struct{ X, Text string }

// stepRow is a step. X, W and CPUWidth are percentages of the axis.
type stepRow struct {
	Title, Start, Wall, CPU, Earlier string
	Cached                           bool
	X, W, CPUWidth                   string
}

// newTimeline draws the steps of a build; nil for none.
func newTimeline(b *Build, c *Change) *timeline {
	if b == nil || len(b.Steps) == 0 {
		return nil
	}
	t := &timeline{Began: b.Began.UTC().Format("2 January 2006, 15:04:05 UTC"),
		RFC: b.Began.UTC().Format("2006-01-02T15:04:05Z")}
	wall, cpu := b.times()
	length := wall
	for _, s := range b.Steps {
		length = max(length, s.Start+s.CPUSeconds)
	}
	length = max(length, 0.001)
	earlier := map[string]progress.Step{}
	if c != nil && c.FromBuild != nil {
		t.Earlier = true
		for _, s := range c.FromBuild.Steps {
			earlier[s.Title] = s
		}
	}
	for _, s := range b.Steps {
		row := stepRow{Title: clean(s.Title), Start: formatSeconds(s.Start), Wall: formatSeconds(s.Seconds),
			CPU: formatSeconds(s.CPUSeconds), Cached: s.Cached, X: percent(s.Start / length),
			W: percent(max(leastShare, s.Seconds/length)), CPUWidth: percent(s.CPUSeconds / length)}
		if before, ok := earlier[s.Title]; ok {
			if row.Earlier = formatSeconds(before.Seconds); before.Cached {
				row.Earlier = "cached"
			}
		}
		t.Rows = append(t.Rows, row)
	}
	t.Total = stepRow{Wall: formatSeconds(wall), CPU: formatSeconds(cpu)}
	if t.Earlier {
		before, _ := c.FromBuild.times()
		t.Total.Earlier = formatSeconds(before)
	}
	for _, at := range ticks(length) {
		t.Ticks = append(t.Ticks, tick{percent(at / length), strings.Replace(formatSeconds(at), ".0", "", 1)})
	}
	return t
}

// ticks returns round numbers of seconds on an axis: at most six, 0 included.
func ticks(length float64) []float64 {
	for _, unit := range []float64{0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 36000} {
		for _, step := range []float64{unit, 2 * unit, 5 * unit} {
			if length/step >= 5 {
				continue
			}
			var all []float64
			for i := range int(length/step) + 1 {
				all = append(all, float64(i)*step)
			}
			return all
		}
	}
	return []float64{0}
}

// changeView is what has changed.
type changeView struct {
	Since    string // the name or the time of what is compared with
	Same     bool
	Figures  []figure
	Facts    []difference.Fact
	Packages []packageChange
	Config   []fileChange
	Files    []fileChange
	// Hidden is the number of files that are not listed because their package differs.
	Hidden int
}

// packageChange is a package that differs. Change is a word, and Sign a character for it.
type packageChange struct {
	Change, Name, From, To string
	// Size is by how much it grew; empty if it is the same.
	Size string
}

// fileChange is a file that differs.
type fileChange struct {
	Change, Name, Package, Text string
}

var changeWords = map[string]string{difference.Added: "added", difference.Removed: "removed",
	difference.Changed: "changed"}

// newChangeView describes a change; nil for none.
func newChangeView(r Report) *changeView {
	c := r.Change
	if c == nil {
		return nil
	}
	d := c.Difference
	v := &changeView{Since: clean(c.From.Source), Same: d.Same}
	if c.FromBuild != nil {
		v.Since = "the build of " + c.FromBuild.Began.UTC().Format("2 January 2006, 15:04 UTC")
	}
	for _, f := range d.Facts {
		v.Facts = append(v.Facts, difference.Fact{Name: clean(f.Name), A: clean(cmp.Or(f.A, "none")),
			B: clean(cmp.Or(f.B, "none"))})
	}
	before, after := packageSizes(c.From), packageSizes(r.Image)
	for _, list := range []struct {
		change   string
		packages []difference.Package
	}{
		{"added", d.Packages.Added}, {"removed", d.Packages.Removed}, {"upgraded", d.Packages.Upgraded},
		{"downgraded", d.Packages.Downgraded},
	} {
		for _, p := range list.packages {
			key := p.Name + ":" + p.Architecture
			v.Packages = append(v.Packages, packageChange{Change: list.change, Name: clean(p.Name), From: clean(p.A),
				To: clean(p.B), Size: formatGrowth(before[key], after[key])})
		}
	}
	for _, f := range d.ConfigFiles {
		v.Config = append(v.Config, newFileChange(f, 0))
	}
	brief := difference.Brief{Files: d.Files}
	if !c.AllFiles {
		brief = d.Brief()
	}
	for _, f := range brief.Files {
		v.Files = append(v.Files, newFileChange(f, brief.Below[f.Name]))
	}
	v.Hidden = brief.OfPackages
	return v
}

func newFileChange(f difference.File, below int) fileChange {
	text := f.Text()
	if below > 0 {
		text += fmt.Sprintf(", with %d names below it", below)
	}
	return fileChange{changeWords[f.Sign()], clean(f.Name), clean(f.Package), clean(text)}
}

// fileList is a table of files.
type fileList struct {
	Title string
	Files []fileChange
}

func newFileList(title string, files []fileChange) fileList { return fileList{title, files} }

// packageSizes returns the sizes of packages by name and architecture.
func packageSizes(r inspect.Report) map[string]uint64 {
	sizes := map[string]uint64{}
	if r.System != nil {
		for _, p := range r.System.Packages {
			sizes[p.Name+":"+p.Architecture] = p.Size
		}
	}
	return sizes
}

func nonEmpty(texts ...string) []string {
	return slices.DeleteFunc(texts, func(text string) bool { return text == "" })
}
