// SPDX-License-Identifier: Apache-2.0

// Package provenance writes and reads statements about what a build has made and of what: in-toto statements with the
// predicate of SLSA, signed in the envelope of DSSE or not.
package provenance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	intoto "github.com/in-toto/attestation/go/v1"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/vmdebootstrap/vmdebootstrap/builder/guard"
	"github.com/vmdebootstrap/vmdebootstrap/builder/lockfile"
	"github.com/vmdebootstrap/vmdebootstrap/builder/manifest"
)

const (
	// predicateType is that of https://slsa.dev/spec/v1.0/provenance.
	predicateType = "https://slsa.dev/provenance/v1"
	// project names the kind of build and who builds.
	project   = "https://github.com/vmdebootstrap/vmdebootstrap"
	buildType = project + "/build/v1"
	// payloadType is the media type of a statement (in-toto attestation framework, envelope).
	payloadType = "application/vnd.in-toto+json"
)

// Subject is a file that a build has made.
type Subject struct {
	Name   string // in the directory of the statement
	SHA256 string
}

// Key signs statements, or verifies them.
type Key = dsse.SignerVerifier

// Write writes a statement of a build: its files, and the lock and the plan that they were made from. It is signed
// unless key is nil. The same build gives the same statement.
func Write(ctx context.Context, w io.Writer, lock lockfile.File, plan []manifest.Step, files []Subject, key Key) error {
	predicate, err := structpb.NewStruct(predicateOf(lock, plan))
	if err != nil {
		return fmt.Errorf("BUG: predicate: %w", err)
	}
	s := &intoto.Statement{Type: intoto.StatementTypeUri, PredicateType: predicateType, Predicate: predicate}
	for _, f := range files {
		s.Subject = append(s.Subject, &intoto.ResourceDescriptor{Name: f.Name,
			Digest: map[string]string{"sha256": f.SHA256}})
	}
	if err := s.Validate(); err != nil {
		return fmt.Errorf("make the statement: %w", err)
	}
	plain, err := protojson.Marshal(s)
	if err != nil {
		return fmt.Errorf("make the statement: %w", err)
	}
	var text bytes.Buffer // protojson's blanks are random
	if err := json.Indent(&text, plain, "", "  "); err != nil {
		return fmt.Errorf("make the statement: %w", err)
	}
	if key == nil {
		_, err := text.WriteTo(w)
		return err
	}
	signer, err := dsse.NewEnvelopeSigner(key)
	if err != nil {
		return fmt.Errorf("sign the statement: %w", err)
	}
	envelope, err := signer.SignPayload(ctx, payloadType, text.Bytes())
	if err != nil {
		return fmt.Errorf("sign the statement: %w", err)
	}
	return json.NewEncoder(w).Encode(envelope)
}

// predicateOf is the predicate as JSON.
func predicateOf(lock lockfile.File, plan []manifest.Step) map[string]any {
	settings, steps, dependencies := []any{}, []any{}, []any{}
	for _, s := range lock.Settings {
		settings = append(settings, map[string]any{s.Name: s.Value})
	}
	for _, s := range plan {
		steps = append(steps, map[string]any{"kind": s.Kind, "title": s.Title})
	}
	depend := func(name, uri, sha256 string) {
		d := map[string]any{"name": name}
		if uri != "" {
			d["uri"] = uri
		}
		if sha256 != "" {
			d["digest"] = map[string]any{"sha256": sha256}
		}
		dependencies = append(dependencies, d)
	}
	for _, s := range lock.Suites {
		for _, f := range s.Files {
			depend(f.Name+" of "+s.Suite, s.Mirror+"/dists/"+s.Suite+"/"+f.Name, f.SHA256)
		}
	}
	for _, i := range lock.Inputs {
		depend(i.Option+" "+i.Name, "", i.SHA256)
	}
	for _, all := range [][]lockfile.Package{lock.Tools, lock.Packages} {
		for _, p := range all {
			uri := p.From
			if !strings.Contains(uri, "://") {
				uri = ""
			}
			depend(p.Name+" "+p.Version+" "+p.Architecture, uri, p.SHA256)
		}
	}
	name, version, _ := strings.Cut(lock.Program, " ")
	return map[string]any{
		"buildDefinition": map[string]any{
			"buildType":            buildType,
			"externalParameters":   map[string]any{"settings": settings},
			"internalParameters":   map[string]any{"plan": steps, "seed": lock.Seed.String(), "time": lock.Time.Unix()},
			"resolvedDependencies": dependencies,
		},
		"runDetails": map[string]any{"builder": map[string]any{"id": project, "version": map[string]any{name: version}}},
	}
}

// ErrUnsigned reports that a statement has no signature.
var ErrUnsigned = errors.New("it has no signature")

// Read reads a statement of Write and returns its files, and whether it is signed. With a key, the error is ErrUnsigned
// if it is not, and another one if the key has not signed it; without one, no signature is verified.
func Read(ctx context.Context, r io.Reader, key Key) (files []Subject, signed bool, err error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, false, err
	}
	err = guard.Parse(func() error {
		var e dsse.Envelope
		if err := json.Unmarshal(data, &e); err != nil {
			return fmt.Errorf("it is no statement: %w", err)
		}
		if signed = e.Payload != ""; signed {
			if e.PayloadType != payloadType {
				return fmt.Errorf("it is an envelope of %q, not of a statement", e.PayloadType)
			}
			if data, err = e.DecodeB64Payload(); err != nil {
				return fmt.Errorf("it is damaged: %w", err)
			}
		}
		switch {
		case key == nil:
		case !signed:
			return ErrUnsigned
		default:
			verifier, err := dsse.NewEnvelopeVerifier(key)
			if err != nil {
				return err
			}
			if _, err := verifier.Verify(ctx, &e); err != nil {
				return errors.New("it is not signed by this key")
			}
		}
		files, err = subjects(data)
		return err
	})
	if err != nil {
		return nil, signed, err
	}
	return files, signed, nil
}

// subjects reads the files of a statement.
func subjects(data []byte) ([]Subject, error) {
	var s intoto.Statement
	if err := protojson.Unmarshal(data, &s); err != nil {
		return nil, errors.New("it is no statement of in-toto")
	}
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("it is no valid statement: %w", err)
	}
	if s.PredicateType != predicateType {
		return nil, fmt.Errorf("it is a statement of %q, not of a build", s.PredicateType)
	}
	var files []Subject
	for _, d := range s.Subject {
		if d.Digest["sha256"] == "" || !fs.ValidPath(d.Name) || d.Name == "." || strings.ContainsRune(d.Name, 0) {
			return nil, fmt.Errorf("the file %q has no SHA-256 digest, or no name of a file below the statement", d.Name)
		}
		files = append(files, Subject{d.Name, d.Digest["sha256"]})
	}
	return files, nil
}
