# Stands in for the official image where no registry can be reached: see scripts/stand-ins.
FROM trixie
COPY rabbitmq-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
RUN ln -s /usr/lib/rabbitmq/lib/rabbitmq_server-* /opt/rabbitmq
ENV PATH=/opt/rabbitmq/sbin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/var/lib/rabbitmq \
    LANG=C.UTF-8 \
    RABBITMQ_LOGS=-
VOLUME /var/lib/rabbitmq
EXPOSE 4369 5671 5672 15691 15692 25672
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["rabbitmq-server"]
