// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"encoding/json"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestEventsAsJSON holds the form that contrib/design/progress.md documents.
func TestEventsAsJSON(t *testing.T) {
	t.Parallel()
	var lines []string
	now, cpu := time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC), time.Hour
	r := New(func(e Event) {
		line, err := json.Marshal(e)
		if err != nil {
			t.Error(err)
		}
		lines = append(lines, string(line))
	}, func() time.Time { now = now.Add(time.Second); return now },
		func() time.Duration { cpu += 500 * time.Millisecond; return cpu })
	r.Begin("read")
	r.Plan([]string{"make", "write"})
	r.Cached("make")
	r.Announce("write")
	r.Advance("copy", 1, 2, Bytes)
	r.Say("console", "login: ")
	r.CountPackages(10, 20)
	r.Warn("full")
	r.Begin("one more than planned")
	r.Finish(Result{Error: "no room", Seconds: 1.5, Files: []File{{"x.img", 4096, 512, "raw"}}, Usage: r.Usage()})
	want := []string{
		`{"event":"begin","time":"2026-11-29T08:00:01Z","step":1,"title":"read"}`,
		`{"event":"plan","time":"2026-11-29T08:00:02Z","step":1,"steps":3,"titles":["make","write"]}`,
		`{"event":"end","time":"2026-11-29T08:00:03Z","step":1,"steps":3,"title":"read","cpuSeconds":0.5}`,
		`{"event":"begin","time":"2026-11-29T08:00:04Z","step":2,"steps":3,"title":"make","cached":true}`,
		`{"event":"end","time":"2026-11-29T08:00:05Z","step":2,"steps":3,"title":"make","cpuSeconds":0.5}`,
		`{"event":"begin","time":"2026-11-29T08:00:06Z","step":3,"steps":3,"title":"write"}`,
		`{"event":"message","time":"2026-11-29T08:00:07Z","step":3,"steps":3,"text":"write"}`,
		`{"event":"advance","time":"2026-11-29T08:00:08Z","step":3,"steps":3,"title":"write",` +
			`"activity":"copy","done":1,"total":2,"unit":"bytes"}`,
		`{"event":"advance","time":"2026-11-29T08:00:09Z","step":3,"steps":3,"title":"write",` +
			`"activity":"console","text":"login: "}`,
		`{"event":"warning","time":"2026-11-29T08:00:10Z","step":3,"steps":3,"text":"full"}`,
		`{"event":"end","time":"2026-11-29T08:00:11Z","step":3,"steps":3,"title":"write","cpuSeconds":0.5}`,
		`{"event":"begin","time":"2026-11-29T08:00:12Z","step":4,"steps":4,"title":"one more than planned"}`,
		`{"event":"end","time":"2026-11-29T08:00:13Z","step":4,"steps":4,"title":"one more than planned","cpuSeconds":0.5}`,
		`{"event":"summary","time":"2026-11-29T08:00:14Z","step":4,"steps":4,"result":{"error":"no room",` +
			`"seconds":1.5,"files":[{"name":"x.img","size":4096,"allocated":512,"format":"raw"}],` +
			`"steps":3,"cachedSteps":1,"downloadedBytes":10,"cachedBytes":20}}`,
	}
	if got := strings.Join(lines, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}

func TestStepsHaveTheirTimes(t *testing.T) {
	t.Parallel()
	now, cpu := time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC), time.Minute
	r := New(func(Event) {}, func() time.Time { return now }, func() time.Duration { return cpu })
	work := func(wall, used time.Duration) { now, cpu = now.Add(wall), cpu+used }
	r.Begin("first")
	work(2*time.Second, 3*time.Second)
	r.Cached("cached")
	r.Begin("present")
	work(time.Second, 250*time.Millisecond)
	want := []Step{
		{Title: "first", Seconds: 2, CPUSeconds: 3},
		{Title: "cached", Cached: true, Start: 2},
		{Title: "present", Start: 2, Seconds: 1, CPUSeconds: 0.25},
	}
	if got := r.Steps(); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	work(time.Second, 0)
	r.Finish(Result{})
	work(time.Hour, time.Hour)
	want[2].Seconds = 2
	if got := r.Steps(); !slices.Equal(got, want) {
		t.Errorf("after the end: got %+v, want %+v", got, want)
	}
}

func TestSampleMeasuresUntilItIsStopped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var events []Event
		r := New(func(e Event) { events = append(events, e) }, time.Now, nil)
		var size atomic.Int64
		stop := r.Sample("compress", 100, Bytes, func() int64 { return size.Add(10) })
		time.Sleep(3*sampleInterval + sampleInterval/2)
		stop()
		time.Sleep(time.Minute)
		if len(events) != 4 || events[3].Done != 40 || events[3].Total != 100 || events[3].Activity != "compress" {
			t.Errorf("got %+v", events)
		}
	})
}

func TestNilReporterDropsEverything(t *testing.T) {
	t.Parallel()
	var r *Reporter
	r.Plan(nil)
	r.Announce("x")
	r.Cached("x")
	r.Say("x", "y")
	r.Advance("x", 1, 2, Bytes)
	r.CountPackages(1, 2)
	r.Warn("x")
	r.Sample("x", 0, Bytes, func() int64 { t.Error("measured for nobody"); return 0 })()
	r.Finish(Result{})
}
