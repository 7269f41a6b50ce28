// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/oci"
)

// finding is the result of one check.
type finding struct {
	Name string `json:"name"`
	// State is ok, missing, or other: not for this user, or not needed for builds.
	State string `json:"state"`
	// Text describes what was found, or what is missing.
	Text string `json:"text"`
	// Fix says what to do if something is missing. The key keeps the name that programs know.
	Fix string `json:"cure,omitempty"`
}

// States of a finding.
const (
	stateOK      = "ok"
	stateMissing = "missing"
	stateOther   = "other"
)

// diagnosis is the result of "vmdebootstrap doctor".
type diagnosis struct {
	// Builds reports whether a build can run here.
	Builds    bool          `json:"builds"`
	Isolation oci.Isolation `json:"isolation,omitempty"`
	Findings  []finding     `json:"findings"`
}

// errNoBuilds ends a doctor that has printed its findings.
const errNoBuilds = childStatus(exitHost)

// stateDirUsage is the help of --state-dir for the verbs.
const stateDirUsage = "the `DIRECTORY` of the builds (default: ~/.cache/vmdebootstrap)"

// newDoctorVerb returns the command "vmdebootstrap doctor", which finds out by trying whether builds can run here.
func newDoctorVerb(env environment, out io.Writer) *cobra.Command {
	var stateDir string
	var asJSON, profile bool
	verb := &cobra.Command{
		Use:   "doctor",
		Short: "report whether builds can run here, and what is missing",
		Long: "Try what a build needs from this machine, and report for each item whether it is available and how to get it. The\n" +
			"exit status is 0 if a build can run here, and 4 if not.",
		Example: `
# What this machine lacks for builds
vmdebootstrap doctor
# The same for a program
vmdebootstrap doctor --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			program, err := os.Readlink("/proc/self/exe")
			if err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			if profile {
				_, err := io.WriteString(out, oci.AppArmorProfile(oci.AppArmorPath(program)))
				return err
			}
			d, err := examine(cmd.Context(), env, stateDir, program)
			if err != nil {
				return err
			}
			if asJSON {
				encoder := json.NewEncoder(out)
				encoder.SetIndent("", "  ")
				err = encoder.Encode(d)
			} else {
				err = d.print(out)
			}
			if err == nil && !d.Builds {
				err = errNoBuilds
			}
			return err
		},
	}
	flags := verb.Flags()
	flags.SortFlags = false
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	flags.BoolVar(&profile, "apparmor-profile", false,
		"print the AppArmor profile that allows this program to create user namespaces, and exit")
	flags.StringVar(&stateDir, "state-dir", "", stateDirUsage)
	return verb
}

// examine runs all checks.
func examine(ctx context.Context, env environment, stateDir, program string) (diagnosis, error) {
	dir, err := env.stateDir(stateDir)
	if err != nil {
		return diagnosis{}, err
	}
	report, err := oci.Probe(ctx, dir)
	if err != nil {
		return diagnosis{}, err
	}
	d := diagnosis{Isolation: report.Isolation}
	for _, candidate := range report.Candidates {
		d.Findings = append(d.Findings, checkIsolation(candidate))
	}
	d.Findings = append(d.Findings, checkAppArmor(report, program))
	store, space := checkStore(report, dir), checkSpace(dir)
	if report.Isolation != "" {
		d.Findings = append(d.Findings, store)
	}
	d.Findings = append(d.Findings, space, checkMirror(env), checkQEMU(env.arch))
	d.Builds = report.Isolation != "" && store.State != stateMissing && space.State != stateMissing
	return d, nil
}

// isolationTexts describe the kinds of isolation.
var isolationTexts = map[oci.Isolation]string{
	oci.IsolationUserNS: "a user namespace with a range of ids",
	oci.IsolationSingle: "a user namespace with a single id; owners are extended attributes",
	oci.IsolationRoot:   "namespaces of root, with the ids of the host",
	oci.IsolationChroot: "chroot without namespaces and mounts",
}

// checkIsolation reports whether a kind of isolation works.
func checkIsolation(candidate oci.Candidate) finding {
	f := finding{Name: string(candidate.Isolation), State: stateOK, Text: isolationTexts[candidate.Isolation]}
	if candidate.Err == nil {
		return f
	}
	if candidate.ForOthers {
		f.State, f.Text = stateOther, f.Text+": not for this user"
		return f
	}
	f.State, f.Text = stateMissing, candidate.Err.Error()
	var host *oci.HostError
	if errors.As(candidate.Err, &host) {
		f.Fix = host.Fix
	}
	return f
}

// checkAppArmor reports Ubuntu's restriction of user namespaces. Where it applies, the isolation userns fails as well.
func checkAppArmor(report oci.Report, program string) finding {
	f := finding{Name: "apparmor", State: stateOK, Text: "does not restrict user namespaces"}
	switch {
	case report.AppArmor && report.Isolation != "":
		f.Text = "restricts user namespaces, but not for this program"
	case report.AppArmor:
		f.State, f.Text = stateMissing, "restricts user namespaces; this profile allows them to "+program
		f.Fix = oci.AppArmorProfile(oci.AppArmorPath(program))
	}
	return f
}

// checkStore reports the storage driver, and why it is not overlay.
func checkStore(report oci.Report, dir string) finding {
	f := finding{Name: "store", State: stateOK, Text: report.Driver + ", in " + dir}
	if at := oci.ExistingDir(dir); writable(at) != nil {
		f.State, f.Text, f.Fix = stateMissing, "files cannot be made in "+at, "name another directory with --state-dir"
		return f
	}
	if report.NoOverlay != "" {
		f.Text += "; each snapshot is a full copy, because overlay does not work: " + report.NoOverlay
	}
	return f
}

// leastSpace is less than a Debian system without a kernel takes together with its packages and the toolbox.
const leastSpace = 1 * diskimage.GB

// checkSpace checks the free space for the state directory, which need not exist yet.
func checkSpace(dir string) finding {
	f := finding{Name: "space", State: stateOK}
	free, err := freeSpace(dir)
	if err != nil {
		f.State, f.Text, f.Fix = stateMissing, err.Error(), "name another directory with --state-dir"
		return f
	}
	f.Text = fmt.Sprintf("%.1f GB free for %s", float64(free.Bytes)/float64(diskimage.GB), dir)
	if free.Bytes < leastSpace {
		f.State, f.Fix = stateMissing,
			"make room: a build needs some GB; or name another directory with --state-dir"
	}
	return f
}

// checkMirror reports which mirror builds use.
func checkMirror(env environment) finding {
	if env.mirror != "" {
		return finding{Name: "mirror", State: stateOK,
			Text: builder.NewURL(env.mirror).String() + ", from this machine's apt sources"}
	}
	return finding{Name: "mirror", State: stateOK,
		Text: "Debian's own, as this machine has no apt sources; --mirror names another"}
}

// checkQEMU reports whether "vmdebootstrap boot" can start images of the architecture.
func checkQEMU(arch string) finding {
	programs := map[string][2]string{
		"amd64": {"qemu-system-x86_64", "qemu-system-x86"}, "i386": {"qemu-system-x86_64", "qemu-system-x86"},
		"arm64": {"qemu-system-aarch64", "qemu-system-arm"},
	}
	f := finding{Name: "boot", State: stateOther}
	qemu, ok := programs[arch]
	if !ok {
		f.Text = "vmdebootstrap boot does not support " + arch
		return f
	}
	if _, err := exec.LookPath(qemu[0]); err != nil {
		f.Text, f.Fix = "vmdebootstrap boot needs "+qemu[0], "as root, run: apt install "+qemu[1]
		return f
	}
	f.State, f.Text = stateOK, qemu[0]+" with KVM"
	if unix.Access("/dev/kvm", unix.R_OK|unix.W_OK) != nil {
		f.Text = qemu[0] + " without KVM: images start slowly"
	}
	return f
}

// stateMarks are the first words of the lines.
var stateMarks = map[string]string{stateOK: "ok", stateMissing: "NO", stateOther: "-"}

// print writes a line for each finding, with the fix below it.
func (d diagnosis) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	for _, f := range d.Findings {
		fmt.Fprintf(w, "%s\t%s\t%s\n", stateMarks[f.State], f.Name, f.Text)
		if f.Fix != "" {
			fmt.Fprintf(w, "\t\t%s\n", f.Fix)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	conclusion := "builds run here, with --isolation " + string(d.Isolation)
	if !d.Builds {
		conclusion = "builds cannot run here"
	}
	_, err := fmt.Fprintln(out, conclusion)
	return err
}
