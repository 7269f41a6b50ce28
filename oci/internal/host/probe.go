// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/process"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/supervise"
)

// Report says how containers can be made on this host, found out by trying.
type Report struct {
	// Candidates are the kinds of isolation, in the order in which they are tried.
	Candidates []Candidate
	// Isolation is the one that a build takes; empty if none works.
	Isolation Isolation
	// Driver is that of the store under this isolation, and NoOverlay why it is not overlay.
	Driver, NoOverlay string
	// AppArmor reports whether AppArmor takes the rights from user namespaces of programs that it has no profile for.
	AppArmor bool
}

// Candidate is one kind of isolation.
type Candidate struct {
	Isolation Isolation
	// Err is nil if it works here; an error that is a *HostError says what is missing and how to get it.
	Err error
	// ForOthers: it is not meant for this user, so that its failure tells nothing.
	ForOthers bool
}

// probeAnswer is what a process tells that was started where containers can be made.
type probeAnswer struct {
	Driver, NoOverlay string
	// NoOwners says why files cannot have owners.
	NoOwners string
	// Refused says what no container could do without.
	Refused *EnterFailure
}

// Probe tries every kind of isolation with a state directory, which need not exist. Nothing is left behind.
func Probe(ctx context.Context, stateDir string) (Report, error) {
	uid := unix.Getuid()
	r := Report{AppArmor: GatherFacts("").appArmorRestricts}
	for _, isolation := range isolations {
		if isolation == IsolationAuto {
			continue
		}
		candidate := Candidate{Isolation: isolation, Err: isolation.suits(uid)}
		if candidate.ForOthers = candidate.Err != nil; !candidate.ForOthers {
			answer, err := probe(ctx, isolation, stateDir)
			if ctx.Err() != nil {
				return r, context.Cause(ctx)
			}
			if candidate.Err = err; err == nil && r.Isolation == "" {
				r.Isolation, r.Driver, r.NoOverlay = isolation, answer.Driver, answer.NoOverlay
			}
		}
		r.Candidates = append(r.Candidates, candidate)
	}
	return r, nil
}

// probe starts this program by an isolation and asks it how it looks there.
func probe(ctx context.Context, isolation Isolation, stateDir string) (answer probeAnswer, err error) {
	if err := checkLimits(unix.Getuid(), processLimit); err != nil {
		return answer, err
	}
	pipe, out, err := os.Pipe()
	if err != nil {
		return answer, err
	}
	defer pipe.Close()
	child, err := enterBy(ctx, ReexecConfig{Args: []string{process.NameProbe, stateDir}, Stdout: out,
		StateDir: stateDir}, isolation, nil)
	err = errors.Join(err, out.Close())
	if err != nil {
		return answer, err
	}
	text, err := io.ReadAll(pipe)
	err = errors.Join(err, child.cmd.Wait(), child.lifeline.Close())
	if err != nil {
		return answer, fmt.Errorf("ask the isolation %s: %w", isolation, err)
	}
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&answer); err != nil {
		return answer, err
	}
	if answer.NoOwners != "" {
		return answer, &Error{Cause: answer.NoOwners, Fix: otherFilesystem}
	}
	if answer.Refused == nil {
		return answer, nil
	}
	return answer, answer.Refused.Diagnose(CallerName(unix.Getuid()))
}

// ProbeMain is the process that probe starts.
func ProbeMain() {
	answer := probeAnswer{Driver: DriverOverlay}
	h, err := readHandover()
	if err != nil {
		process.Exit(1)
	}
	if err := TryOverlay(h.Isolation, ExistingDir(os.Args[1])); err != nil {
		answer.Driver, answer.NoOverlay = DriverVFS, err.Error()
	}
	// Any other error, as that of a directory that cannot be written, is no property of the isolation.
	if lack, ok := errors.AsType[*Error](TryOwners(h.Isolation, ExistingDir(os.Args[1]))); ok {
		answer.NoOwners = lack.Error()
	}
	if err := supervise.TryListen(); err != nil {
		answer.Refused = NewEnterFailure(TryListener, "answer for programs", err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil { //nolint:forbidigo // the answer of this process
		process.Exit(1)
	}
}

// ExistingDir returns a directory, or the nearest above it that is there.
func ExistingDir(dir string) string {
	for {
		if info, err := os.Stat(dir); err == nil && info.IsDir() || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}
