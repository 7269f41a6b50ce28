// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"
)

// contender is one way to reach a result.
type contender struct {
	name  string
	steps [][]string // commands that run one after the other and are measured together
	// check is a command that must succeed on the result of the last round; nil for none.
	check []string
	// reports is set if the output of the steps is for the user.
	reports bool
}

// group is several ways to reach the same result.
type group struct {
	title      string
	outputs    []string // what the steps write; removed before each run
	contenders []contender
	// ratios compare a contender with another one.
	ratios []ratio
	once   bool // one round is enough
}

// ratio compares the time of contender a with that of contender b.
type ratio struct {
	a, b string
	goal string
}

// cost is the resources that a run takes.
type cost struct {
	wall, processor time.Duration
	memory          int64 // peak of the largest process, in bytes
}

func (c cost) wallTime() time.Duration      { return c.wall }
func (c cost) processorTime() time.Duration { return c.processor }

// best returns the shortest of the times, in seconds.
func best(costs []cost, of func(cost) time.Duration) float64 { return sorted(costs, of)[0].Seconds() }

// measure runs all contenders in turn. It prints the shortest time of each, which other load affects least, and the
// median.
func (g group) measure(ctx context.Context, o options) error {
	fmt.Printf("\n%-40s %9s %9s %9s %9s\n", g.title, "wall s", "(median)", "cpu s", "peak MB")
	rounds := o.rounds
	if g.once {
		rounds = 1
	}
	costs := make([][]cost, len(g.contenders))
	for round := range rounds {
		for i, c := range g.contenders {
			if err := g.warm(o); err != nil {
				return err
			}
			got, err := g.run(ctx, c, round == rounds-1)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			costs[i] = append(costs[i], got)
		}
	}
	runs := map[string][]cost{}
	for i, c := range g.contenders {
		wall, processor := sorted(costs[i], cost.wallTime), sorted(costs[i], cost.processorTime)
		memory := sorted(costs[i], func(c cost) int64 { return c.memory })
		runs[c.name] = costs[i]
		fmt.Printf("%-40s %9.3f %9.3f %9.3f %9.0f\n", c.name, wall[0].Seconds(), wall[rounds/2].Seconds(),
			processor[0].Seconds(), float64(memory[rounds-1])/1e6)
	}
	for _, r := range g.ratios {
		a, b := runs[r.a], runs[r.b]
		pairs := make([]float64, rounds)
		for i := range pairs {
			pairs[i] = a[i].wall.Seconds() / b[i].wall.Seconds()
		}
		slices.Sort(pairs)
		fmt.Printf("  %s / %s: wall %.2f (%.2f), cpu %.2f; goal %s\n", r.a, r.b,
			best(a, cost.wallTime)/best(b, cost.wallTime),
			pairs[rounds/2], best(a, cost.processorTime)/best(b, cost.processorTime), r.goal)
	}
	return nil
}

// warm makes the kernel allocate as much page cache as a contender will need, and frees it. On a virtual machine memory
// that was free for some seconds returns to the host, which would slow down the run after a slow contender.
func (g group) warm(o options) error {
	in, err := os.Open(o.tar)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(g.outputs[0])
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close(), g.clean())
}

// run runs a contender once and removes its outputs.
func (g group) run(ctx context.Context, c contender, last bool) (cost, error) {
	if err := g.clean(); err != nil {
		return cost{}, err
	}
	var sum cost
	for _, step := range c.steps {
		got, err := timed(ctx, step, c.reports)
		if err != nil {
			return cost{}, err
		}
		sum.wall += got.wall
		sum.processor += got.processor
		sum.memory = max(sum.memory, got.memory)
	}
	if last && c.check != nil {
		if out, err := exec.CommandContext(ctx, c.check[0], c.check[1:]...).CombinedOutput(); err != nil {
			return cost{}, fmt.Errorf("%s: %w\n%s", c.check[0], err, out)
		}
	}
	return sum, g.clean()
}

// clean removes the outputs.
func (g group) clean() error {
	var errs []error
	for _, name := range g.outputs {
		errs = append(errs, os.RemoveAll(name))
	}
	return errors.Join(errs...)
}

// timed runs a program and returns its cost.
func timed(ctx context.Context, command []string, report bool) (cost, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return cost{}, fmt.Errorf("%s: %w\n%s", command[0], err, out.Bytes())
	}
	wall := time.Since(start)
	if report {
		fmt.Print(out.String())
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	const kilobyte = 1 << 10 // the unit of ru_maxrss, see getrusage(2)
	return cost{wall, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), usage.Maxrss * kilobyte}, nil
}

// sorted returns one figure of all runs, in ascending order.
func sorted[T time.Duration | int64](costs []cost, of func(cost) T) []T {
	values := make([]T, len(costs))
	for i, c := range costs {
		values[i] = of(c)
	}
	slices.Sort(values)
	return values
}
