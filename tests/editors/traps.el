;;; traps.el --- What docs/clients.md says of jsonrpc.el, tried  -*- lexical-binding: t; -*-

;; Prints what came of it as JSON.  There is no daemon: what matters is what comes in one packet.

(require 'jsonrpc)

(defun packet (&rest messages)
  (mapconcat (lambda (json) (format "Content-Length: %d\r\n\r\n%s" (string-bytes json) json)) messages ""))

(let* (noticed
       (connection
        (make-instance
         'jsonrpc-process-connection :name "trap"
         :process (make-process :name "trap" :command '("cat") :connection-type 'pipe :coding 'utf-8-emacs-unix)
         :notification-dispatcher (lambda (_ _ params) (push params noticed))))
       (process (jsonrpc--process connection))
       (deliver (lambda (&rest messages) (jsonrpc--process-filter process (apply #'packet messages))))
       (notification "{\"method\":\"n\",\"params\":{\"null\":null,\"false\":false,\"object\":{}}}"))
  ;; The answer to the request that is sent below, with a notification behind it.
  (cl-letf (((symbol-function 'jsonrpc-connection-send)
             (lambda (&rest _) (run-with-timer 0 nil deliver "{\"id\":1,\"result\":{}}" notification))))
    (jsonrpc-request connection 'm nil))
  (let ((left (length noticed)))
    (funcall deliver "{\"method\":\"n\",\"params\":{}}")
    (princ (json-serialize (list :noticed left :later (length noticed) :timeout jsonrpc-default-request-timeout
                                 :params (format "%S" (car (last noticed))))))))
