package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	clientSigner  = "kubernetes.io/kube-apiserver-client"
	kubeletSigner = "kubernetes.io/kube-apiserver-client-kubelet"
)

// signingRequest is a CertificateSigningRequest for a key that is thrown away.
func signingRequest(name, signer, commonName string, organizations ...string) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: commonName, Organization: organizations},
	}, key)
	must(err)
	request := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	return object("certificates.k8s.io/v1", "CertificateSigningRequest", "", name, map[string]any{"spec": map[string]any{
		"signerName": signer,
		"request":    base64.StdEncoding.EncodeToString(request),
		"usages":     []string{"digital signature", "client auth"},
	}})
}

// nodeCertificate is a kubelet renewing its client certificate: asked for by the node, approved and signed by controllers.
func (d *driver) nodeCertificate() {
	d.as(d.node).create(signingRequest("csr-"+nodeName, kubeletSigner, "system:node:"+nodeName, "system:nodes"))
	d.await("the kubelet's client certificate", func(ctx context.Context) error {
		csr, err := d.admin.clients.CertificatesV1().CertificateSigningRequests().Get(ctx, "csr-"+nodeName, metav1.GetOptions{})
		if err == nil && len(csr.Status.Certificate) == 0 {
			err = errors.New("not signed")
		}
		return err
	})
}

// approval is the approval, or with another condition the denial, of an existing request.
func (d *driver) approval(name, condition string) string {
	csr, err := d.admin.clients.CertificatesV1().CertificateSigningRequests().Get(d.ctx, name, metav1.GetOptions{})
	if err != nil {
		d.fail("signing request "+name, err)
		return "{}"
	}
	csr.APIVersion, csr.Kind = "certificates.k8s.io/v1", "CertificateSigningRequest"
	manifest := piece(asJSON(csr))
	status, _ := manifest["status"].(map[string]any)
	if status == nil {
		status = map[string]any{}
	}
	status["conditions"] = []any{piece(fmt.Sprintf(`{type: %s, status: "True", reason: ByHand, message: decided by a person}`, condition))}
	manifest["status"] = status
	return asJSON(manifest)
}
