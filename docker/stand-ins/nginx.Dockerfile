# Stands in for the official image where no registry can be reached: see scripts/stand-ins.
FROM trixie
EXPOSE 80
STOPSIGNAL SIGQUIT
CMD ["nginx", "-g", "daemon off;"]
