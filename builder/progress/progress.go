// SPDX-License-Identifier: Apache-2.0

// Package progress describes as data what a piece of work is doing: which of its steps has begun, how far that is, and
// what --verbose says.
//
// The work is a build, an assembly or another verb. It is a sequence of steps, one at a time. A Reporter numbers them,
// and passes an Event for each thing that happens to one sink, which shows it to people or programs. No part of the
// work depends on what the sink does. contrib/design/progress.md documents the events in their form as JSON.
package progress

import (
	"slices"
	"sync"
	"time"
)

// Kind is what an Event tells.
type Kind string

// The kinds of events.
const (
	// Plan lists the steps to come after the present one, in Titles. A later one corrects an earlier one.
	Plan Kind = "plan"
	// Begin is the beginning of a step. Cached says that its result exists already: it ends at once.
	Begin Kind = "begin"
	// Advance says how far the present step is, with Activity, Done, Total and Unit.
	Advance Kind = "advance"
	// End is the end of a step.
	End Kind = "end"
	// Message is a line of --verbose, in Text.
	Message Kind = "message"
	// Warning is a line that is shown to people in any case, in Text.
	Warning Kind = "warning"
	// Summary is the last event: what has been made, or why nothing.
	Summary Kind = "summary"
)

// Unit is what Done and Total of an Event count.
type Unit string

// The units.
const (
	Bytes    Unit = "bytes"
	Packages Unit = "packages"
	// Results are those of steps, in the cache.
	Results Unit = "results"
)

// Event is one thing that happened. Only the fields that its Kind names are set, beside Time, Step and Steps.
type Event struct {
	Kind Kind      `json:"event"`
	Time time.Time `json:"time"`
	// Image is the name of the image that is built, where several are.
	Image string `json:"image,omitempty"`
	// Step is the number of the present step, from 1 on. Steps is the number of all, 0 while it is unknown.
	Step  int `json:"step,omitempty"`
	Steps int `json:"steps,omitempty"`
	// Title describes the step.
	Title  string   `json:"title,omitempty"`
	Titles []string `json:"titles,omitempty"`
	Cached bool     `json:"cached,omitempty"`
	// Activity is the part of a step that Done and Total measure: "download". Total is 0 if it is unknown.
	Activity string `json:"activity,omitempty"`
	Done     int64  `json:"done,omitempty"`
	Total    int64  `json:"total,omitempty"`
	Unit     Unit   `json:"unit,omitempty"`
	// Text is that of a Message or Warning, or of an Advance that counts nothing, such as the last line of a console.
	Text string `json:"text,omitempty"`
	// CPUSeconds is the processor time of the step that an End ends.
	CPUSeconds float64 `json:"cpuSeconds,omitempty"`
	// Result is that of a Summary.
	Result *Result `json:"result,omitempty"`
}

// Step is what became of a step. All times are in seconds.
type Step struct {
	Title  string `json:"title"`
	Cached bool   `json:"cached,omitempty"`
	// Start is when it began, after the beginning of the first step.
	Start float64 `json:"start"`
	// Seconds is how long it took, and CPUSeconds the processor time that this program and the programs that it ran have
	// used meanwhile. A program counts when it has ended.
	Seconds    float64 `json:"seconds"`
	CPUSeconds float64 `json:"cpuSeconds"`
}

// Result is what a piece of work has made.
type Result struct {
	// Error is why the work failed; empty if it succeeded.
	Error string `json:"error,omitempty"`
	// Seconds is how long the work took.
	Seconds float64 `json:"seconds"`
	Files   []File  `json:"files,omitempty"`
	// Logins are the accounts that can log in to the image; nil if there is none.
	Logins []string `json:"logins,omitempty"`
	// Boot and QEMU are command lines that start the image, with vmdebootstrap and without it; empty if it has no boot
	// loader.
	Boot string `json:"boot,omitempty"`
	QEMU string `json:"qemu,omitempty"`
	Usage
}

// Usage is how much of the work was saved by the cache.
type Usage struct {
	// Steps and Cached are the numbers of the steps that ran and of those whose results existed already.
	Steps  int `json:"steps"`
	Cached int `json:"cachedSteps"`
	// Downloaded and FromCache are bytes of packages.
	Downloaded int64 `json:"downloadedBytes"`
	FromCache  int64 `json:"cachedBytes"`
}

// File is an output.
type File struct {
	Name string `json:"name"`
	// Size is the length in bytes, and Allocated what the file takes on the disk.
	Size      int64 `json:"size"`
	Allocated int64 `json:"allocated"`
	// Format is that of a disk image: "raw", "qcow2"; empty for other files.
	Format string `json:"format,omitempty"`
}

// Reporter numbers steps and sends events. It may be used by several goroutines. A nil Reporter drops everything.
type Reporter struct {
	sink func(Event)
	now  func() time.Time
	cpu  func() time.Duration

	mu          sync.Mutex // also held while sink runs
	step, steps int
	title       string // of the present step; empty if there is none
	usage       Usage
	begun       []Step
	first       time.Time     // when the first step began
	began       time.Time     // when the present step began
	cpuBefore   time.Duration // when the present step began
}

// New returns a Reporter that calls sink for each event, one at a time. sink must not call the Reporter. cpu returns
// the processor time that was used so far; nil if it is unknown.
func New(sink func(Event), now func() time.Time, cpu func() time.Duration) *Reporter {
	if cpu == nil {
		cpu = func() time.Duration { return 0 }
	}
	return &Reporter{sink: sink, now: now, cpu: cpu}
}

// Plan says which steps follow the present one.
func (r *Reporter) Plan(titles []string) {
	r.do(func() {
		r.steps = r.step + len(titles)
		r.send(Event{Kind: Plan, Titles: titles})
	})
}

// Begin ends the present step, and begins the next one.
func (r *Reporter) Begin(title string) {
	r.do(func() {
		r.begin(title, false)
		r.usage.Steps++
	})
}

// Announce begins the next step with a line of --verbose, its title.
func (r *Reporter) Announce(title string) {
	r.Begin(title)
	r.Message(title)
}

// Cached counts a step whose result exists already.
func (r *Reporter) Cached(title string) {
	r.do(func() {
		r.begin(title, true)
		r.end()
		r.usage.Cached++
	})
}

// Advance says that done of total have been finished of a part of the present step. total is 0 if it is unknown.
func (r *Reporter) Advance(activity string, done, total int64, unit Unit) {
	r.do(func() {
		r.send(Event{Kind: Advance, Title: r.title, Activity: activity, Done: done, Total: total, Unit: unit})
	})
}

// Say says what is to be seen of a part of the present step that counts nothing.
func (r *Reporter) Say(activity, text string) {
	r.do(func() { r.send(Event{Kind: Advance, Title: r.title, Activity: activity, Text: text}) })
}

// Bytes returns a function that says how many of total bytes have been finished of a part of the present step.
func (r *Reporter) Bytes(activity string, total int64) func(done int64) {
	return func(done int64) { r.Advance(activity, done, total, Bytes) }
}

// CountPackages adds bytes of packages to the Usage.
func (r *Reporter) CountPackages(downloaded, fromCache int64) {
	r.do(func() {
		r.usage.Downloaded += downloaded
		r.usage.FromCache += fromCache
	})
}

// Message sends a line of --verbose.
func (r *Reporter) Message(text string) { r.do(func() { r.send(Event{Kind: Message, Text: text}) }) }

// Warn sends a line that people must see.
func (r *Reporter) Warn(text string) { r.do(func() { r.send(Event{Kind: Warning, Text: text}) }) }

// Usage returns what was saved so far.
func (r *Reporter) Usage() (u Usage) {
	r.do(func() { u = r.usage })
	return u
}

// Steps returns the steps that have begun, in their order. The last one may be the present one, as far as it is.
func (r *Reporter) Steps() (steps []Step) {
	r.do(func() {
		r.measure(r.now())
		steps = slices.Clone(r.begun)
	})
	return steps
}

// Finish ends the present step and sends the Summary.
func (r *Reporter) Finish(result Result) {
	r.do(func() {
		r.end()
		r.send(Event{Kind: Summary, Result: &result})
	})
}

// do calls f with the lock held, unless r is nil.
func (r *Reporter) do(f func()) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *Reporter) begin(title string, cached bool) {
	r.end()
	r.step++
	if r.steps > 0 {
		r.steps = max(r.steps, r.step) // the plan may have been too short
	}
	r.title = title
	r.began, r.cpuBefore = r.send(Event{Kind: Begin, Title: title, Cached: cached}), r.cpu()
	if len(r.begun) == 0 {
		r.first = r.began
	}
	r.begun = append(r.begun, Step{Title: title, Cached: cached, Start: seconds(r.began.Sub(r.first))})
}

func (r *Reporter) end() {
	if r.title == "" {
		return
	}
	now := r.now()
	r.measure(now)
	r.sendAt(now, Event{Kind: End, Title: r.title, CPUSeconds: r.begun[len(r.begun)-1].CPUSeconds})
	r.title = ""
}

// measure notes how long the present step has taken so far.
func (r *Reporter) measure(now time.Time) {
	if r.title == "" {
		return
	}
	s := &r.begun[len(r.begun)-1]
	s.Seconds, s.CPUSeconds = seconds(now.Sub(r.began)), seconds(r.cpu()-r.cpuBefore)
}

// seconds returns a duration in seconds, to the millisecond.
func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }

// send sends an event, and returns its time.
func (r *Reporter) send(e Event) time.Time {
	now := r.now()
	r.sendAt(now, e)
	return now
}

func (r *Reporter) sendAt(now time.Time, e Event) {
	e.Time, e.Step, e.Steps = now, r.step, r.steps
	r.sink(e)
}
